"""Model files of swin.h and the checkpoints they are made from."""
