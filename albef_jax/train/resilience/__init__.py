"""What keeps a long run going: skipped steps, signals, a watchdog, replay."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "Guards": "nonfinite",
        "TrainingDiverged": "nonfinite",
        "StopRequests": "preemption",
        "SyncedSignal": "preemption",
        "Watchdog": "watchdog",
    },
)
