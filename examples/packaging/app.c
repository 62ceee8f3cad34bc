/* app.c - the program that the projects of this folder build: it segments the picture that swin.h
   draws for self-tests, and prints a number that depends on every pixel's class

   app MODEL.swin. With SWIN_IMPLEMENTATION defined it needs the header alone, else the library. */

#include <stdio.h>
#include <swin.h>

int main(int argc, char **argv)
{
    enum { W = 160, H = 120 };
    static unsigned char rgb[W * H * 3], classes[W * H];
    uint32_t sums[2];
    swin_error error;
    swin_model *model = argc > 1 ? swin_load(argv[1], &error) : NULL;
    if (!model) return fprintf(stderr, "%s\n", argc > 1 ? error.text : "usage: app MODEL.swin"), 1;
    swin_reference_picture(rgb, W, H, 1);
    if (swin_segment(model, rgb, W, H, classes, &error))
        return fprintf(stderr, "%s\n", error.text), 1;
    swin_checksum(classes, sizeof classes, sums);
    printf("swin.h %d.%d.%d: %08lx%08lx\n", SWIN_VERSION_MAJOR, SWIN_VERSION_MINOR,
           SWIN_VERSION_PATCH, (unsigned long)sums[0], (unsigned long)sums[1]);
    swin_free(model);
    return 0;
}
