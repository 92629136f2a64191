"""Which curves a report shows; a panel without numbers is left out, so all tasks share them."""

from albef_jax.report.charts import Curve, Panel

PANELS = (
    Panel("Loss, the sum", (Curve("loss", "total"),)),
    Panel(
        "Loss of each objective, log axis",
        (
            Curve("loss_itc", "contrast (ITC)"),
            Curve("loss_mlm", "masked words (MLM)"),
            Curve("loss_itm", "matching (ITM)"),
        ),
        log=True,
    ),
    Panel(
        "Accuracy in the batch, %",
        (
            Curve("itc_accuracy", "contrast (ITC)"),
            Curve("itm_accuracy", "matching (ITM)"),
            Curve("accuracy", "classes"),
        ),
        scale=100,
        zero=True,
    ),
    Panel("Temperature of the contrast", (Curve("temperature", "temperature"),)),
    Panel("Weight of the teacher's targets, alpha", (Curve("alpha", "alpha"),), zero=True),
    Panel("Learning rate", (Curve("lr", "learning rate"),), zero=True),
    Panel("Gradient norm", (Curve("grad_norm", "gradient norm"),), zero=True),
    Panel("Throughput, pairs a second", (Curve("pairs_per_s", "pairs/s"),), zero=True),
    Panel("Waiting for data, % of the time", (Curve("data_wait", "wait"),), scale=100, zero=True),
)
