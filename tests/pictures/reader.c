/* reader.c - picture.h's decoder as a filter, for tests/pictures.py

   Standard input: files, each after its length (4 bytes, little-endian). Standard output: for each
   the width, the height (4 bytes each, little-endian) and the pixels; width 0, then the length of
   the sentence and the sentence where it is refused. With arguments W H CHANNELS: writes a picture
   of them to /dev/null and prints the errno. */
/* Without swin.h's implementation, which takes sanitizers minutes, its limits are defined here. */
#define SWIN_MAX_SIDE 16384
#define SWIN_MAX_PIXELS (1 << 26)
#define COMMON_PICTURES
#include "../../examples/common.h"

static void put(uint32_t n)
{
    for (int i = 0; i < 4; i++) putchar((int)(n >> 8 * i & 255));
}

static void answer(const unsigned char *bytes, size_t size)
{
    picture p;
    char why[256] = "";
    if (picture_decode(&p, bytes, size, why)) {
        put((uint32_t)p.width);
        put((uint32_t)p.height);
        fwrite(p.rgb, 3, (size_t)p.width * (size_t)p.height, stdout);
        free(p.rgb);
    } else {
        if (p.rgb || !*why) abort();
        put(0);
        put((uint32_t)strlen(why));
        fputs(why, stdout);
    }
}

int main(int count, char **arguments)
{
    unsigned char length[4];
    if (count == 4) {
        static const unsigned char pixels[64];
        printf("%d\n", picture_write("/dev/null", pixels, atoi(arguments[1]), atoi(arguments[2]),
                                     atoi(arguments[3])));
        return 0;
    }
    while (fread(length, 1, 4, stdin) == 4) {
        size_t size = little_endian(length, 4);
        unsigned char *bytes = (unsigned char *)malloc(size);       /* exactly: sanitizers watch */
        if (size && (!bytes || fread(bytes, 1, size, stdin) != size)) return 1;
        answer(bytes, size);
        free(bytes);
    }
    return 0;
}
