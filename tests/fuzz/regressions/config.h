/* regressions/config.h - what tests/fuzz/config.c runs before its inputs, as it printed them: cases that
   once broke a promise, after the smallest model there is. */
{.g = {.version = 1, .patch = 1, .planes = 3, .eps = 1e-5f, .stages = 1,
       .stage[0] = {.width = 1, .depth = 1, .heads = 1, .hidden = 1, .window_h = 1, .window_w = 1},
       .picture.scale = {1, 1, 1}},
 .d = {.width = 1, .height = 1},
 .seed = 1, .tasks = 1, .slice = 1},
