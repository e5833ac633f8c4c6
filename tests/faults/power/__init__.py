"""Power cuts and bad disks under the embedded log, by a model of what a disk has kept."""
