"""ShareAD: one network whose reconstruction error is compared within the window."""
