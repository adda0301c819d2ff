"""The only process that reads pictures which strangers sent: it looks at them, decodes and codes them.

Whatever a picture does to its reader, it does to one short-lived process with limits of memory and time.
"""
