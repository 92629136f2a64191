"""Where the model looks: Grad-CAM, one heat map a word, and boxes ranked by them."""
