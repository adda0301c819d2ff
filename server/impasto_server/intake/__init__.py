"""The only process that reads pictures which strangers sent: it looks at them, decodes and codes them.

Whatever a picture does to its reader, it does to one short-lived process with limits of memory and time.
"""

import os

# libvips reads this when it is loaded, by whichever module of this package. One thread for a picture: the
# pictures are many, the cores few.
os.environ.setdefault("VIPS_CONCURRENCY", "1")
