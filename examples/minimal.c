/* The smallest program, as the head of swin.h shows it: cc -O2 examples/minimal.c -o minimal -lm */
#define SWIN_IMPLEMENTATION
#include "../swin.h"
int main(int argc, char **argv)
{
    enum { W = 480, H = 360 };
    static unsigned char rgb[W * H * 3], classes[W * H];
    swin_error error;
    swin_model *model = argc > 1 ? swin_load(argv[1], &error) : NULL;
    if (!model) return puts(argc > 1 ? error.text : "usage: minimal MODEL.swin < RGB"), 1;
    if (fread(rgb, 1, sizeof rgb, stdin) != sizeof rgb)
        return puts("expected 480x360 RGB bytes"), 1;
    if (swin_segment(model, rgb, W, H, classes, &error)) return puts(error.text), 1;
    printf("the middle of the picture is %s\n",
           swin_class_name(model, classes[H / 2 * W + W / 2]));
    swin_free(model);
    return 0;
}
