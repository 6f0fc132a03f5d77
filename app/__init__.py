"""What a person starts: commands, the live session, window, overlay and recorder."""
