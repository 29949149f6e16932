"""What operators stated about intervals and pages: statements, mutes, and the ways in which they arrive."""
