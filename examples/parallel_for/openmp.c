/* openmp.c - a complete program on the threads of OpenMP

   cc -O2 -fopenmp examples/parallel_for/openmp.c -lm -o openmp && ./openmp weights/street.swin

   For another recipe of this folder, change its include and the lines that fill in the desc. */
#define SWIN_IMPLEMENTATION
#include "../../swin.h"
#include "openmp.h"

#include <stdio.h>
#include <stdlib.h>

static int fail(const char *why)
{
    fprintf(stderr, "openmp: %s\n", why);
    return 1;
}

static int class_in_the_middle(swin_map map)
{
    const int at = map.height / 2 * map.width + map.width / 2;
    return map.bytes == 1 ? ((const uint8_t *)map.data)[at] : ((const uint16_t *)map.data)[at];
}

int main(int argc, char **argv)
{
    enum { W = 480, H = 360 };
    static unsigned char rgb[W * H * 3];
    swin_error error;
    swin_model *model = argc > 1 ? swin_load(argv[1], &error) : NULL;
    if (!model) return fail(argc > 1 ? error.text : "usage: openmp MODEL.swin");

    swin_desc desc = {0};
    desc.picture_width = W;
    desc.picture_height = H;
    desc.outputs = SWIN_OUT_CLASSES;
    desc.parallel_for = openmp_for;
    desc.tasks = 16 * omp_get_max_threads();

    size_t bytes = swin_workspace_size(model, &desc, &error);
    if (!bytes) return fail(error.text);
    void *memory = malloc(bytes);
    if (!memory) return fail("not enough memory");
    swin_context *context;
    if (swin_init(&context, model, &desc, memory, bytes, &error)) return fail(error.text);

    swin_image image = {0};
    image.data = rgb;
    image.width = W;
    image.height = H;
    swin_reference_picture(rgb, W, H, 1);       /* your pictures come here */
    if (swin_run(context, &image)) return fail(swin_error_text(context));

    printf("the middle of the picture is %s, by %d threads\n",
           swin_class_name(model, class_in_the_middle(swin_classes(context))),
           omp_get_max_threads());
    free(memory);
    swin_free(model);
    return 0;
}
