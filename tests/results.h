/* results.h - all results of a run as one number, to compare runs by. Include it after the
   implementation or the interface of swin.h. */
#ifndef RESULTS_H
#define RESULTS_H

#include <math.h>
#include <stdint.h>

/* Goes on with a Fowler-Noll-Vo hash. */
static uint64_t hash(uint64_t h, const void *data, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)data;
    for (size_t i = 0; i < size; i++) h = (h ^ bytes[i]) * 0x100000001b3u;
    return h;
}

static float element(swin_tensor t, int c, int y, int x)
{
    return t.data[(size_t)c * t.channel + (size_t)y * t.row + (size_t)x * t.pixel];
}

static uint64_t hash_tensor(uint64_t h, swin_tensor t)
{
    for (int c = 0; c < t.channels; c++)
        for (int y = 0; y < t.height; y++)
            for (int x = 0; x < t.width; x++) {
                const float value = element(t, c, y, x);
                h = hash(h, &value, sizeof value);
            }
    return h;
}

static int is_finite(swin_tensor t)
{
    for (int c = 0; c < t.channels; c++)
        for (int y = 0; y < t.height; y++)
            for (int x = 0; x < t.width; x++)
                if (!(fabsf(element(t, c, y, x)) < 1e30f)) return 0;
    return 1;
}

/* Every bit of every result that was asked for; 0 where a number is not finite. */
static uint64_t results(const swin_context *c)
{
    const swin_map map = swin_classes(c), sure = swin_confidence(c), ids = swin_segment_map(c);
    int count;
    const swin_region *regions = swin_segments(c, &count);
    swin_tensor tensors[8];
    uint64_t h = 0xcbf29ce484222325u;
    tensors[0] = swin_logits(c);
    tensors[1] = swin_scores(c);
    for (int i = 0; i < 5; i++) tensors[2 + i] = swin_feature(c, i);
    tensors[7] = swin_attention(c);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        if (!is_finite(tensors[i])) return 0;
        h = hash_tensor(h, tensors[i]);
    }
    if (count) h = hash(h, regions, (size_t)count * sizeof *regions);
    if (ids.data) h = hash(h, ids.data, (size_t)(ids.width * ids.height * ids.bytes));
    if (sure.data) h = hash(h, sure.data, (size_t)(sure.width * sure.height * sure.bytes));
    return map.data ? hash(h, map.data, (size_t)(map.width * map.height * map.bytes)) : h;
}

#endif
