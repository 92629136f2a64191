"""What keeps a long run going: skipped steps, signals, a watchdog, replay."""
