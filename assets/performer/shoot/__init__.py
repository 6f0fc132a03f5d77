"""The performer's shoots: expression track + head motion + cameras -> pictures with exact ground truth."""
