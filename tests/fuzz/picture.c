/* tests/fuzz/picture.py seeds
   clang -g -O1 -fsanitize=fuzzer,address,undefined,float-cast-overflow tests/fuzz/picture.c -o fuzz
   ./fuzz seeds

   The file of a picture, and, as hardly any changed PNG gets past its checksums, the same file with
   them made right. What is read must be a picture of the size it says, twice the same. */
#define SWIN_MAX_SIDE 16384
#define SWIN_MAX_PIXELS (1 << 16)
#define COMMON_PICTURES
#include "../../examples/common.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void store(unsigned char *at, uint32_t n)
{
    for (int i = 0; i < 4; i++) at[i] = (unsigned char)(n >> (24 - 8 * i));
}

/* Ends the zlib stream in the IDAT chunks, whose last byte is before `end`, with its checksum. */
static void mend_stream(const unsigned char *stream, size_t size, unsigned char *end)
{
    static unsigned char rows[1 << 20];
    if (size < 6) return;
    int got = stbi_zlib_decode_buffer((char *)rows, sizeof rows, (const char *)stream, (int)size);
    if (got >= 0) store(end - 4, png_adler(rows, (size_t)got));
}

/* Makes the checksums of a PNG right, where its last IDAT chunk has 4 bytes or more. */
static void mend(unsigned char *file, size_t size)
{
    unsigned char *stream = (unsigned char *)malloc(size + 1), *last = NULL;
    size_t used = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t at = 8, length; at < size && size - at >= 12; at += length + 12) {
            unsigned char *d = file + at;
            length = big_endian(d, 4);
            if (length > size - at - 12) break;
            if (!pass && !memcmp(d + 4, "IDAT", 4)) {
                memcpy(stream + used, d + 8, length);
                used += length;
                last = length < 4 ? NULL : d + 8 + length;
            }
            if (pass) store(d + 8 + length, png_crc(d + 4, length + 4));
        }
        if (!pass && last) mend_stream(stream, used, last);
    }
    free(stream);
}

static void decode(const unsigned char *file, size_t size)
{
    picture p, again;
    char why[256] = "";
    int ok = picture_decode(&p, file, size, why);
    if (ok != picture_decode(&again, file, size, why)) abort();
    if (!ok && (p.rgb || !*why)) abort();
    size_t bytes = (size_t)p.width * (size_t)p.height * 3;
    if (ok && (p.width < 1 || p.height < 1 || p.width != again.width || p.height != again.height
               || memcmp(p.rgb, again.rgb, bytes)))
        abort();
    free(p.rgb);
    free(again.rgb);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char *file = (unsigned char *)malloc(size);    /* exactly: sanitizers watch */
    if (size) memcpy(file, data, size);
    decode(file, size);
    if (size > 8 && !memcmp(file, "\x89PNG", 4)) {
        mend(file, size);
        decode(file, size);
    }
    free(file);
    return 0;
}
