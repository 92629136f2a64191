"""PyTorch's `.pth` format, read and written without PyTorch and without executing anything."""
