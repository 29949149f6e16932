"""What each verb does: options in, a step called, a few lines out. A module loads when one of its verbs is called."""
