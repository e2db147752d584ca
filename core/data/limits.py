"""Bounds on what a data set may make us read, checked before anything is allocated."""

MAX_MEMBERS = 200_000  # files in an archive; the index of a zip is held in memory
MAX_EXPANDED_BYTES = 64 * 2**30  # of all members of an archive together
MAX_RATIO = 100  # expanded to packed, above the floor: honest data stay far below, bombs far above
RATIO_FLOOR_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000  # of one image
MAX_MEMBER_NAME = 1_000
MAX_DIMENSIONS = 8  # of one array, the axis of samples included
LARGE_BYTES = 64 * 2**20  # from here on arrays stay on disk and are mapped
