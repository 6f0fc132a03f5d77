"""One module per verb: `visavis <verb>` is `<Verb>Config` and `<verb>(config) -> int` in `app/commands/<verb>.py`."""
