"""How classifiers' families make inputs of pictures. All resize with PIL, which averages what a
pixel covers and rounds to 8 bits."""

from ..records import Filter, Head, Mode, Resize


def crop_centre(d, shortest, crop, resize_filter=Filter.BICUBIC_ANTIALIASED):
    """Resizes to a shortest side, or to (height, width), and takes the centre (height, width)."""
    if d["head"] != Head.CLASSIFIER:
        return
    exact = isinstance(shortest, tuple)
    d.update(resize_rule=Resize.EXACT if exact else Resize.SHORTEST, resize_filter=resize_filter,
             resize_a=shortest[0] if exact else shortest, resize_b=shortest[1] if exact else 0,
             mode=Mode.CENTRE, crop_h=crop[0], crop_w=crop[1])


def resize_exactly(d, size, resize_filter=Filter.BICUBIC_ANTIALIASED):
    """Resizes to (height, width), whatever the picture's shape."""
    d.update(resize_rule=Resize.EXACT, resize_a=size[0], resize_b=size[1],
             resize_filter=resize_filter)
