"""The only process that reads pictures sent by callers: it describes, decodes and encodes them.

A malicious picture can harm only one short-lived process, which has limits on memory and time.
"""

import os

# libvips reads this when it is loaded, whichever module of this package loads it. One thread per picture:
# there are more pictures than cores.
os.environ.setdefault("VIPS_CONCURRENCY", "1")
