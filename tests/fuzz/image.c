/* clang -g -O1 -fsanitize=fuzzer,address,undefined tests/fuzz/image.c -o fuzz -lm && ./fuzz

   A desc and a picture: sizes, outputs, tasks, flags, format, stride, sliding window, threshold,
   kept logits and attention from the first 24 bytes, pixels from the rest, in memory of exactly their
   size. What can be started must run. */
#define SWIN_NO_SIMD
#define SWIN_DEBUG
#define SWIN_IMPLEMENTATION
#include "../../swin.h"
#include "../model.h"

static void backwards(void *user, swin_task task, void *arg, int count)
{
    (void)user;
    while (count--) task(arg, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static const int bytes[] = {3, 3, 4, 4, 1, 4};
    uint8_t data[64] = {0};
    memcpy(data, input, size < 64 ? size : 64);
    const int w = data[0], h = data[1], picture_w = data[2], picture_h = data[3];
    swin_desc d = {w, h, picture_w, picture_h, data[4] % 128u, data[5] % 9 - 1, backwards, NULL,
                   (swin_cpu)(data[6] % 6), data[7] % 8u, 1 << 19, data[14] % 80, data[15] % 80,
                   data[16] % 40, data[17] % 40, (float)data[18] / 255, NULL, data[19], data[20],
                   data[21] % 4, NULL, 0};
    swin_image in = {NULL, 0, 0, 0, (swin_format)(data[8] % 7), 0};
    const int planes = in.format == SWIN_PLANES;
    in.width = planes || !picture_w ? w : picture_w;
    in.height = planes || !picture_h ? h + (data[9] == 0) : picture_h;
    const size_t row = (size_t)(in.width * bytes[in.format % 6]) + data[10] % 8 * 4u;
    const size_t total = row * (size_t)in.height * (planes ? 3 : 1);
    unsigned char *pixels = (unsigned char *)need(total);
    for (size_t i = 0; i < total; i++) pixels[i] = data[24 + i % 40];
    in.data = pixels;
    in.stride = (ptrdiff_t)row;

    static blob whole[MODELS];
    blob *b = &whole[data[11] % MODELS];
    swin_model m;
    swin_context *c;
    if (!b->size) *b = model_blob(data[11] % MODELS);
    if (swin_open(&m, b->bytes, b->size, 0, NULL)) abort();
    const size_t kept = data[22] % 2 ? swin_kept_size(&m, &d, NULL) : 0;
    if (kept) d.kept = need(kept);
    const size_t room = swin_workspace_size(&m, &d, NULL);
    void *memory = need(room);
    if (room && !swin_init(&c, &m, &d, memory, room, NULL) && !swin_begin(c, &in)) {
        swin_status status = SWIN_MORE;
        while (status == SWIN_MORE) status = swin_step(c, 1 + data[12]);
        if (status) abort();
    }
    free(memory);
    free(d.kept);
    free(pixels);
    return 0;
}
