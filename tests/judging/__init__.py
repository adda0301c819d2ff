"""The set of free photographs and paintings that pictures are judged on, made by `picture_set`."""
