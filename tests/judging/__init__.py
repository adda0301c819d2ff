"""The set of free photographs and paintings on which recipes are judged; `picture_set` makes it."""
