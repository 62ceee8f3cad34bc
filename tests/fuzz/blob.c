/* clang -g -O1 -fsanitize=fuzzer,address,undefined tests/fuzz/blob.c -o fuzz -lm && ./fuzz

   A model file with words overwritten: after a byte that picks the model, each 6 bytes of input are
   the place of a word and its new value. What still opens must run. */
#define SWIN_NO_SIMD
#define SWIN_IMPLEMENTATION
#include "../../swin.h"
#include "../model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned char rgb[9 * 7 * 3] = {1, 20, 255};
    static blob whole[WIDE_UPER];
    const int which = size ? data[0] % WIDE_UPER : PLAIN;
    if (!whole[which].size) whole[which] = model_blob(which);
    const blob b = {(unsigned char *)need(whole[which].size), whole[which].size};
    memcpy(b.bytes, whole[which].bytes, b.size);
    const swin_image in = {rgb, 9, 7, 0, SWIN_RGB8, 0};
    swin_model m;
    swin_desc d = {0};
    swin_context *c;
    for (size_t i = 1; i + 6 <= size; i += 6) {
        const size_t place = data[i] + 256u * data[i + 1];
        memcpy(b.bytes + 4 * (place % (b.size / 4)), data + i + 2, 4);
    }
    d.picture_width = in.width;
    d.picture_height = in.height;
    d.memory_limit = 1 << 18;
    if (swin_open(&m, b.bytes, b.size, 0, NULL) == SWIN_OK) {
        const size_t room = swin_workspace_size(&m, &d, NULL);
        void *memory = need(room);
        if (room && (swin_init(&c, &m, &d, memory, room, NULL) || swin_run(c, &in))) abort();
        free(memory);
    }
    free(b.bytes);
    return 0;
}
