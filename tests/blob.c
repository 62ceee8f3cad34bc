/* tests/blob.c - damaged model files: an error or a model that runs, never a crash

   Every case works on a copy of exactly the blob's size: a sanitizer sees one byte too many.
   What is still accepted after damage is run on a small picture, under a limit of memory. But for
   the test of the checksum it is not verified: then the reader's own checks stand alone.

   cc -std=c99 -O1 -g -fsanitize=address,undefined tests/blob.c -lm && ./a.out */

#define SWIN_NO_SIMD    /* the reader and the plan are the same in every pass */
#define SWIN_IMPLEMENTATION
#include "../swin.h"
#include "model.h"
#include <time.h>

static int passed, failed;

static void report(const char *model, const char *what, int ok)
{
    printf("%s %s: %s\n", model, what, ok ? "ok" : "FAILED");
    if (ok) passed++;
    else failed++;
}

static blob copy_of(const blob b)
{
    blob c = {(unsigned char *)need(b.size), b.size};
    memcpy(c.bytes, b.bytes, b.size);
    return c;
}

/* Where a part of the blob starts. */
enum { CONFIG = 32, DIRECTORY = 48 };

static size_t part_of(const blob b, size_t part)
{
    uint64_t offset;
    memcpy(&offset, b.bytes + part, sizeof offset);
    return (size_t)offset;
}

/* --- trying a blob ---------------------------------------------------------------------------- */

/* A refusal must say why, and leave nothing in the model. */
static int refused(const blob b, unsigned flags)
{
    static const swin_model nothing;
    swin_model m;
    swin_error e = {SWIN_OK, ""};
    const swin_status status = swin_open(&m, b.bytes, b.size, flags, &e);
    return status != SWIN_OK && status == e.status && strlen(e.text) > 10
           && !memcmp(&m, &nothing, sizeof m);
}

static int opens(const blob b, unsigned flags)
{
    swin_model m;
    return swin_open(&m, b.bytes, b.size, flags, NULL) == SWIN_OK;
}

/* Reads all the strings; 1 so that no compiler skips it. */
static int read_strings(const swin_model *m)
{
    size_t total = 1;
    for (int k = 0; k < m->config.classes; k++)
        total += strlen(swin_class_name(m, k)) + swin_class_color(m, k);
    return total > 0 && !swin_note(m, "no such note") && !swin_class_name(m, -1)
           && !swin_class_name(m, m->config.classes);
}

/* Segments 7 x 5 pixels; ids must be classes. Too large a workspace is a fine answer. */
static int runs(const swin_model *m)
{
    enum { W = 7, H = 5 };
    unsigned char rgb[W * H * 3];
    swin_error e = {SWIN_OK, ""};
    swin_context *c;
    swin_desc d = {0};
    swin_image in = {0};
    d.picture_width = W;
    d.picture_height = H;
    d.memory_limit = 1 << 18;
    const size_t size = swin_workspace_size(m, &d, &e);
    if (!size) return e.status != SWIN_OK && strlen(e.text) > 10;
    void *memory = need(size);
    swin_reference_picture(rgb, W, H, 1);
    in.data = rgb;
    in.width = W;
    in.height = H;
    int ok = swin_init(&c, m, &d, memory, size, &e) == SWIN_OK && swin_run(c, &in) == SWIN_OK;
    const swin_map map = ok ? swin_classes(c) : (swin_map){0};
    for (int i = 0; map.data && i < map.width * map.height; i++) {
        const unsigned char *bytes = (const unsigned char *)map.data + i * map.bytes;
        ok &= bytes[0] + (map.bytes > 1 ? bytes[1] << 8 : 0) < m->config.classes;
    }
    free(memory);
    return ok;
}

/* The promise: an error with a sentence, or a model that runs. */
static int harmless(const blob b)
{
    swin_model m;
    blob c = copy_of(b);
    const int ok = swin_open(&m, c.bytes, c.size, 0, NULL) == SWIN_OK ? read_strings(&m) && runs(&m)
                                                                      : refused(c, 0);
    free(c.bytes);
    return ok;
}

/* --- configs that no checkpoint has ----------------------------------------------------------- */

/* Fields that swin.h relies on beyond their own range. */
static void test_config_promises(void)
{
    swin_config g = model_config(CROSS_UNET);
    g.stage[0].window_h = 16, g.stage[0].window_w = 2;
    g.stage[0].shift_h = g.stage[0].shift_w = 1;
    blob b = make_blob(&g);
    report("cross unet", "windows that are not square", refused(b, SWIN_VERIFY));
    free(b.bytes);

    static const float bad[] = {NAN, INFINITY, -INFINITY, 1e30f};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        g = model_config(PLAIN);
        if (i % 2) g.picture.mean[i % 3] = bad[i];
        else g.picture.scale[i % 3] = bad[i];
        b = make_blob(&g);
        report("plain", "a colour's mean or scale", refused(b, SWIN_VERIFY));
        free(b.bytes);
    }
    static const uint32_t sides[] = {0, 1025, 40000, 0xffffffff};
    for (size_t i = 0; i < 2 * sizeof sides / sizeof *sides; i++) {
        g = model_config(PLAIN);
        const swin_reference r = {1, 1, i % 2 ? 64 : sides[i / 2], i % 2 ? sides[i / 2] : 64,
                                  {0, 0}, {0, 0}};
        g.reference = r;
        b = make_blob(&g);
        report("plain", "the self-test's picture", refused(b, SWIN_VERIFY));
        g.reference.present = 0;
        blob fine = make_blob(&g);
        report("plain", "no such picture can be recorded",
               swin_set_reference(fine.bytes, fine.size, &r, NULL) == SWIN_DAMAGED);
        free(fine.bytes);
        free(b.bytes);
    }
}

/* --- records ---------------------------------------------------------------------------------- */

/* Where the first record of this name starts. */
static unsigned char *record_of(const blob b, const char *name)
{
    for (size_t at = HEADER; at + 16 <= part_of(b, DIRECTORY);) {
        uint32_t size;
        if (!strncmp((const char *)b.bytes + at, name, 12)) return b.bytes + at;
        memcpy(&size, b.bytes + at + 12, 4);
        at += 16 + size;
    }
    exit(2);
}

/* A refusal whose sentence has this in it. */
static int refused_for(const blob b, swin_status status, const char *words)
{
    swin_model m;
    swin_error e = {SWIN_OK, ""};
    if (swin_open(&m, b.bytes, b.size, 0, &e) == status && strstr(e.text, words)) return 1;
    printf("said: %d, %s\n", e.status, e.text);
    return 0;
}

/* What a later version may write is refused by name and version; the rest is damage. */
static void test_records(void)
{
    const blob b = model_blob(GLAM_UPER);
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", SWIN_VERSION_MAJOR, SWIN_VERSION_MINOR,
             SWIN_VERSION_PATCH);
    blob c = copy_of(b);
    memcpy(record_of(c, "classes"), "novelty\0\0\0\0\0", 12);
    report("glam", "an unknown record is named", refused_for(c, SWIN_UNSUPPORTED, "novelty"));
    report("glam", "and so is the version", refused_for(c, SWIN_UNSUPPORTED, version));
    memcpy(record_of(c, "novelty"), "stage\0\0\0\0\0\0\0", 12);
    report("glam", "a record out of place", refused_for(c, SWIN_DAMAGED, "stage"));
    memcpy(c.bytes, b.bytes, b.size);
    memcpy(record_of(c, "classes"), "head\0\0\0\0\0\0\0\0", 12);
    report("glam", "a second record of a kind that there is one of",
           refused_for(c, SWIN_DAMAGED, "more than 1 records `head`"));
    memcpy(c.bytes, b.bytes, b.size);
    record_of(c, "picture")[12] += 4;
    report("glam", "a longer record", refused_for(c, SWIN_UNSUPPORTED, "picture"));
    record_of(c, "picture")[12] -= 8;
    report("glam", "a shorter record", refused_for(c, SWIN_DAMAGED, "picture"));
    memcpy(c.bytes, b.bytes, b.size);
    put32(record_of(c, "head") + 16, 99);
    report("glam", "an unknown kind", refused_for(c, SWIN_UNSUPPORTED, "head"));
    memcpy(c.bytes, b.bytes, b.size);
    put32(record_of(c, "stage") + 20, 300);
    report("glam", "a field out of range",
           refused_for(c, SWIN_DAMAGED, "depth of the record `stage 0`"));
    memcpy(c.bytes, b.bytes, b.size);
    put32(c.bytes + 8, 1);
    report("glam", "an older blob", refused_for(c, SWIN_UNSUPPORTED, "convert"));
    free(c.bytes);
    free(b.bytes);
}

/* The record `rules` may be there or not; its values count where it is. */
static void test_optional_record(void)
{
    swin_config g = model_config(GLAM_UPER);
    const blob without = make_blob(&g);
    swin_model m;
    g.rules.corners = SWIN_CORNERS_ALIGNED;
    g.rules.feature_eps = 1e-6f;
    const blob with = make_blob(&g);
    report("glam", "an optional record", with.size >= without.size &&
           swin_open(&m, with.bytes, with.size, SWIN_VERIFY, NULL) == SWIN_OK &&
           m.config.rules.corners == SWIN_CORNERS_ALIGNED && m.config.rules.feature_eps == 1e-6f &&
           runs(&m));
    put32(record_of(with, "rules") + 16, 1);
    report("glam", "a denormal number", refused_for(with, SWIN_DAMAGED, "feature_eps"));
    memset(record_of(with, "rules") + 16, 0, 8);
    report("glam", "an optional record of zeros",
           swin_open(&m, with.bytes, with.size, 0, NULL) == SWIN_OK && runs(&m));
    put32(record_of(with, "rules") + 20, SWIN_CORNERS_COUNT);
    report("glam", "its unknown kind", refused_for(with, SWIN_UNSUPPORTED, "corner_rule"));
    memcpy(record_of(with, "picture"), "rules\0\0\0\0\0\0\0", 12);
    report("glam", "an optional record out of place", refused_for(with, SWIN_DAMAGED, "rules"));
    report("glam", "without one", swin_open(&m, without.bytes, without.size, 0, NULL) == SWIN_OK &&
           m.config.rules.corners == SWIN_CORNERS_AS_HEAD && m.config.rules.feature_eps == 0);
    free(with.bytes);
    free(without.bytes);
}

/* Instances want things, and only they know how many there may be; such as overlap leave nothing to
   each other. */
static void test_instances(void)
{
    static const struct { int rule, share, most, things; const char *words; } bad[] = {
        {SWIN_SEGMENTS_INSTANCES, 0, 5, 0, "no class is one of things"},
        {SWIN_SEGMENTS_INSTANCES_ONEFORMER, 800, 0, 0, "no class is one of things"},
        {SWIN_SEGMENTS_INSTANCES, 800, 5, 1, "overlap_share"},
        {SWIN_SEGMENTS_INSTANCES_HUGGING_FACE, 800, 0, 1, "overlap_share"},
        {SWIN_SEGMENTS_HUGGING_FACE, 800, 5, 1, "the most instances"},
        {SWIN_SEGMENTS_NONE, 0, 5, 0, "the most instances"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const swin_segments_config segments = { bad[i].rule, 500, bad[i].share, {0} };
        swin_config g = model_config(MASKFORMER);
        g.segments = segments;
        g.segments.things[SWIN_MAX_THINGS / 32 - 1] = (uint32_t)bad[i].things;
        g.instances.most = bad[i].most;
        blob b = make_blob(&g);
        report("maskformer", bad[i].words, refused_for(b, SWIN_DAMAGED, bad[i].words));
        free(b.bytes);
    }
    swin_config g = model_config(MASKFORMER);
    g.segments.rule = SWIN_SEGMENTS_INSTANCES;
    g.segments.overlap_share = 0;
    g.instances.most = 4097;
    blob b = make_blob(&g);
    report("maskformer", "too many instances", refused_for(b, SWIN_DAMAGED, "most"));
    put32(record_of(b, "instances") + 16, 4096);
    swin_model m;
    report("maskformer", "as many as there may be",
           swin_open(&m, b.bytes, b.size, 0, NULL) == SWIN_OK && runs(&m));
    free(b.bytes);
}

/* Segments want queries, and a bit for each class. */
static void test_segments(void)
{
    swin_config g = model_config(SEMANTIC_FPN);
    g.segments.rule = SWIN_SEGMENTS_MASKFORMER;
    blob b = make_blob(&g);
    report("semantic fpn", "segments without queries", refused_for(b, SWIN_DAMAGED, "segments"));
    free(b.bytes);
    g = model_config(MASKFORMER);
    g.classes = SWIN_MAX_THINGS + 1;
    b = make_blob(&g);
    report("maskformer", "segments of many classes", refused_for(b, SWIN_DAMAGED, "512 classes"));
    free(b.bytes);
    g = model_config(MASKFORMER);
    g.segments.rule = SWIN_SEGMENTS_COUNT;
    b = make_blob(&g);
    report("maskformer", "another rule", refused_for(b, SWIN_UNSUPPORTED, "rule of the record"));
    free(b.bytes);
}

/* What SMP's decoders alone have would be read as weights that others lack. */
static void test_decoder(void)
{
    swin_config g = model_config(SEMANTIC_FPN);
    g.decoder.concat = 1;
    blob b = make_blob(&g);
    report("semantic fpn", "levels side by side", refused_for(b, SWIN_DAMAGED, "decoder"));
    free(b.bytes);
    g = model_config(SMP_UNET);
    g.decoder.width[1] = 15;
    b = make_blob(&g);
    report("smp unet", "scSE of few channels", refused_for(b, SWIN_DAMAGED, "block 1"));
    free(b.bytes);
    g = model_config(SMP_UNET);
    g.head.channels++;
    b = make_blob(&g);
    report("smp unet", "the last block's channels", refused_for(b, SWIN_DAMAGED, "head_channels"));
    free(b.bytes);
    g = model_config(SMP_FPN);
    g.head.channels = 33;
    b = make_blob(&g);
    report("smp fpn", "no groups", refused_for(b, SWIN_DAMAGED, "groups"));
    free(b.bytes);
}

/* One logit of the source: class 0's stays inside, where the class map needs it. */
static void test_one_class(void)
{
    swin_config g = model_config(FCN_HEAD);
    swin_model m;
    g.classes = 2;
    g.rules.one_class = 1;
    blob b = make_blob(&g);
    report("fcn", "one class", swin_open(&m, b.bytes, b.size, SWIN_VERIFY, NULL) == SWIN_OK &&
           runs(&m));
    put32(record_of(b, "rules") + 24, 2);
    report("fcn", "one class, no flag", refused_for(b, SWIN_DAMAGED, "one_class"));
    free(b.bytes);
    g.classes = 3;
    b = make_blob(&g);
    report("fcn", "one class of three", refused_for(b, SWIN_DAMAGED, "one_class with 3 classes"));
    free(b.bytes);
    g = model_config(SWIN_V2);
    g.classes = 2;
    g.rules.one_class = 1;
    b = make_blob(&g);
    report("v2", "one class of a classifier", refused_for(b, SWIN_DAMAGED, "of a classifier"));
    free(b.bytes);
}

/* Stages of any width, as many as eight. */
static void test_stages(void)
{
    static const int widths[] = {6, 9, 32, 7, 7, 10, 1, 2}, divisors[] = {2, 3, 4, 1, 7, 5, 1, 1};
    swin_config g = model_config(GLAM_UPER);
    g.stages = SWIN_MAX_STAGES;
    for (int i = 0; i < g.stages; i++) {
        if (i >= 3) g.stage[i] = g.stage[2];
        g.stage[i].width = widths[i];
        g.stage[i].heads = divisors[i];
    }
    g.feature_norms = 0xff;
    g.head.inputs = 0xd5;
    const blob b = make_blob(&g);
    swin_model m;
    swin_error e = {SWIN_OK, ""};
    const int ok = swin_open(&m, b.bytes, b.size, SWIN_VERIFY, &e) == SWIN_OK && runs(&m);
    if (!ok) printf("%s\n", e.text);
    report("glam", "eight stages of their own widths", ok);
    g.stage[1].width = 10;
    const blob bad = make_blob(&g);
    report("glam", "heads that do not divide", refused_for(bad, SWIN_DAMAGED, "heads of stage 1"));
    free(bad.bytes);
    free(b.bytes);
}

/* A million empty notes before the one asked for: a walk over all for each would take minutes. */
static void test_many_notes(void)
{
    enum { NOTES = 1000000, STRINGS = 64, DATA = 80, PLACE = 88 };
    const blob a = model_blob(PLAIN);
    uint64_t strings[2], data[2], count, offset;
    memcpy(strings, a.bytes + STRINGS, sizeof strings);
    memcpy(data, a.bytes + DATA, sizeof data);
    memcpy(&count, a.bytes + 56, 8);
    const size_t text = 2 * NOTES + (size_t)strings[1], start = (size_t)strings[0];
    const size_t moved = up64(start + text) - (size_t)data[0];
    blob b = {(unsigned char *)calloc(1, a.size + moved), a.size + moved};
    if (!b.bytes) exit(2);
    memcpy(b.bytes, a.bytes, start);
    memcpy(b.bytes + start + 2 * NOTES, a.bytes + start, (size_t)strings[1]);
    memcpy(b.bytes + data[0] + moved, a.bytes + data[0], (size_t)data[1]);
    put64(b.bytes + 16, b.size);
    put64(b.bytes + STRINGS + 8, text);
    put64(b.bytes + DATA, data[0] + moved);
    for (uint64_t i = 0; i < count; i++) {
        unsigned char *entry = b.bytes + part_of(b, DIRECTORY) + ENTRY * i;
        memcpy(&offset, entry + PLACE, 8);
        put64(entry + PLACE, offset + moved);
    }
    seal(b);
    swin_model m;
    const clock_t before = clock();
    const int ok = swin_open(&m, b.bytes, b.size, SWIN_VERIFY, NULL) == SWIN_OK
                   && !strcmp(swin_note(&m, "name"), "Übung") && !swin_note(&m, "licence");
    report("plain", "a million notes", ok && clock() - before < 20 * CLOCKS_PER_SEC);
    free(a.bytes);
    free(b.bytes);
}

/* As many classes as there can be: a program asks for each name and colour in turn. */
static void test_many_classes(void)
{
    swin_config g = model_config(SWIN_V2);
    g.classes = 65535;
    const blob b = make_blob(&g);
    swin_model m;
    const clock_t before = clock();
    int ok = swin_open(&m, b.bytes, b.size, SWIN_VERIFY, NULL) == SWIN_OK;
    for (int k = 0; ok && k < 65535; k++) {
        char name[32];
        snprintf(name, sizeof name, "class %d", k);
        ok &= !strcmp(swin_class_name(&m, k), name) && swin_class_color(&m, k) == 16u * (unsigned)k;
    }
    ok &= !strcmp(swin_note(&m, "name"), "Übung");
    report("v2", "65535 names and colours", ok && clock() - before < 20 * CLOCKS_PER_SEC);
    free(b.bytes);
}

/* A name may be 1023 bytes long, and no longer. */
static void test_long_name(void)
{
    const blob b = model_blob(PSP_HEAD);
    uint64_t strings[2];
    memcpy(strings, b.bytes + 64, sizeof strings);
    char *text = (char *)b.bytes + strings[0];
    for (int length = 1023; length <= 1024; length++) {
        enum { PAIR = 8 };                      /* "#000000" and its zero */
        const size_t gone = strlen(text + PAIR), more = 1024;
        blob c = {(unsigned char *)need(b.size + more), b.size + more};
        uint64_t data, offset, count;
        memcpy(&data, b.bytes + 80, 8);
        memcpy(&count, b.bytes + 56, 8);
        memcpy(c.bytes, b.bytes, (size_t)strings[0] + PAIR);
        char *to = (char *)c.bytes + strings[0];
        memset(to + PAIR, 'a', (size_t)length);
        memcpy(to + PAIR + length, text + PAIR + gone, (size_t)strings[1] - PAIR - gone);
        const size_t size = (size_t)strings[1] + (size_t)length - gone;
        memset(to + size, 0, (size_t)data + more - (size_t)strings[0] - size);
        const size_t start = up64((size_t)strings[0] + size), moved = start - (size_t)data;
        c.size = b.size + moved;
        memcpy(c.bytes + start, b.bytes + data, b.size - (size_t)data);
        put64(c.bytes + 16, c.size);
        put64(c.bytes + 72, size);
        put64(c.bytes + 80, start);
        for (uint64_t i = 0; i < count; i++) {
            unsigned char *entry = c.bytes + part_of(c, DIRECTORY) + ENTRY * i;
            memcpy(&offset, entry + 88, 8);
            put64(entry + 88, offset + moved);
        }
        seal(c);
        report("psp", length > 1023 ? "a name of 1024 bytes" : "a name of 1023 bytes",
               length > 1023 ? refused(c, SWIN_VERIFY) : opens(c, SWIN_VERIFY));
        free(c.bytes);
    }
    free(b.bytes);
}

/* --- whole parts ------------------------------------------------------------------------------ */

static void test_valid(const char *name, const blob b)
{
    swin_model m;
    swin_error e;
    const int ok = swin_open(&m, b.bytes, b.size, SWIN_VERIFY, &e) == SWIN_OK;
    if (!ok) printf("%s\n", e.text);
    report(name, "is valid and runs", ok && read_strings(&m) && runs(&m));
    if (!ok) exit(1);
    report(name, "has its note", !strcmp(swin_note(&m, "name"), "Übung") && !swin_note(&m, "nam"));
}

static void test_arguments(const char *name, const blob b)
{
    unsigned char *odd = (unsigned char *)need(b.size + 1);
    const blob shifted = {odd + 1, b.size};
    swin_model m;
    memcpy(odd + 1, b.bytes, b.size);
    report(name, "odd address", swin_open(&m, shifted.bytes, b.size, 0, NULL) == SWIN_ARGUMENT);
    report(name, "no blob", swin_open(&m, NULL, b.size, 0, NULL) == SWIN_ARGUMENT);
    report(name, "no model", swin_open(NULL, b.bytes, b.size, 0, NULL) == SWIN_ARGUMENT);
    report(name, "unknown flags", swin_open(&m, b.bytes, b.size, 6, NULL) == SWIN_ARGUMENT);
    free(odd);
}

/* Every bit of these bytes follows from the rest of the blob: no flip opens. */
static int determined(const blob b, size_t from, size_t to)
{
    int ok = 1;
    for (size_t bit = 8 * from; bit < 8 * to; bit++) {
        b.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        ok &= refused(b, 0);
        b.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    return ok && opens(b, 0);
}

/* The checksum is looked at only on request; one more pair of empty notes is fine. */
static void test_header(const char *name, const blob b)
{
    enum { CHECKSUM = 24, PARTS = 32, STRINGS_SIZE = 72, DATA = 80 };
    int ok = determined(b, 0, CHECKSUM) && determined(b, PARTS, STRINGS_SIZE)
             && determined(b, DATA, HEADER);
    for (size_t bit = 8 * STRINGS_SIZE; bit < 8 * DATA; bit++) {
        b.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        ok &= harmless(b);
        b.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    report(name, "header bits", ok);
}

static void test_config(const char *name, const blob b)
{
    static const uint32_t values[] = {0, 1, 2, 3, 0x7fffffff, 0xffffffff, 0x80000000,
                                      0x7fc00000};
    int ok = 1;
    for (size_t at = HEADER; at < part_of(b, DIRECTORY); at += 4) {
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            blob c = copy_of(b);
            put32(c.bytes + at, values[i]);
            ok &= harmless(c);
            free(c.bytes);
        }
    }
    report(name, "config words", ok);
}

static void test_strings(const char *name, const blob b, size_t from, size_t to)
{
    static const unsigned char values[] = {0, 1, '#', 'Z', '\n', 127, 0x80, 0xc3, 0xe2, 0xf4, 0xff};
    int ok = 1;
    for (size_t at = from; at < to; at++) {
        for (size_t i = 0; i < sizeof values; i++) {
            blob c = copy_of(b);
            swin_model m;
            c.bytes[at] = values[i];
            if (swin_open(&m, c.bytes, c.size, 0, NULL) == SWIN_OK) ok &= read_strings(&m);
            else ok &= refused(c, 0);
            free(c.bytes);
        }
    }
    report(name, "strings", ok);
}

/* Cut off, at every 64 bytes and next to them: as a short file, and as one whose header agrees. */
static void test_truncated(const char *name, const blob b)
{
    int ok = 1;
    for (size_t at = 0; at < b.size; at += 64) {
        for (int off = -4; off <= 4; off += 4) {
            if ((off < 0 && !at) || at + 4 >= b.size) continue;
            const blob part = {b.bytes, at + (size_t)off};
            blob c = copy_of(part);
            ok &= refused(c, 0) && refused(c, SWIN_VERIFY);
            if (c.size >= HEADER) {
                const uint64_t data = *(const uint64_t *)(const void *)(b.bytes + 80);
                put64(c.bytes + 16, c.size);
                if (c.size >= data) put64(c.bytes + 88, c.size - data);
                ok &= refused(c, 0);
            }
            free(c.bytes);
        }
    }
    report(name, "truncated", ok);
}

/* One more line of data than the tensors take. */
static void test_longer(const char *name, const blob b)
{
    blob c = {(unsigned char *)need(b.size + 64), b.size + 64};
    uint64_t data;
    memcpy(c.bytes, b.bytes, b.size);
    memset(c.bytes + b.size, 0, 64);
    report(name, "longer than it says", refused(c, 0));
    memcpy(&data, b.bytes + 88, 8);
    put64(c.bytes + 16, c.size);
    put64(c.bytes + 88, data + 64);
    report(name, "longer than its tensors", refused(c, 0));
    free(c.bytes);
}

/* Fletcher's sums see every flipped bit: all of them up to `all`, then one a line. */
static void test_checksum(const char *name, const blob b, size_t all)
{
    int ok = 1;
    for (size_t bit = 0; bit < 8 * b.size; bit += bit < 8 * all ? 1 : 512 - bit % 512 + dice(512)) {
        b.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        ok &= !opens(b, SWIN_VERIFY);
        b.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    report(name, "checksum", ok && opens(b, SWIN_VERIFY));
}

/* --- at random -------------------------------------------------------------------------------- */

/* One to four wounds, most of them in front of the data. */
static void test_random(const char *name, const blob b, size_t front, int rounds)
{
    static const uint32_t values[] = {0, 1, 2, 16, 64, 0x7fffffff, 0x80000000, 0xffffffff,
                                      0x7f800000, 0x7fc00000, 0xff7fffff};
    int ok = 1;
    for (int round = 0; round < rounds; round++) {
        blob c = copy_of(b);
        for (uint32_t wounds = 1 + dice(4); wounds; wounds--) {
            const size_t region = dice(3) == 0 ? b.size : dice(2) ? front : part_of(b, DIRECTORY);
            const size_t at = 4 * dice((uint32_t)(region / 4));
            uint32_t word;
            memcpy(&word, c.bytes + at, 4);
            switch (dice(3)) {
            case 0: word ^= 1u << dice(32); break;
            case 1: word = values[dice(sizeof values / sizeof *values)]; break;
            default: word += dice(5) - 2;
            }
            put32(c.bytes + at, word);
        }
        ok &= harmless(c);
        free(c.bytes);
    }
    report(name, "random damage", ok);
}

/* --- references ------------------------------------------------------------------------------- */

static void test_reference(const char *name, const blob b)
{
    static const swin_reference want = {1, 7, 20, 10, {3, 4}, {5, 6}};
    blob c = copy_of(b);
    swin_model m;
    const int ok = swin_set_reference(c.bytes, c.size, &want, NULL) == SWIN_OK
                   && swin_open(&m, c.bytes, c.size, SWIN_VERIFY, NULL) == SWIN_OK
                   && !memcmp(&m.config.reference, &want, sizeof want);
    report(name, "reference is kept and sealed", ok);
    memcpy(c.bytes, b.bytes, b.size);
    c.bytes[b.size - 1] ^= 1;
    blob before = copy_of(c);
    report(name, "no reference for a damaged blob",
           swin_set_reference(c.bytes, c.size, &want, NULL) == SWIN_DAMAGED
               && !memcmp(before.bytes, c.bytes, c.size));
    free(before.bytes);
    free(c.bytes);
}

int main(void)
{
    test_config_promises();
    test_records();
    test_optional_record();
    test_one_class();
    test_segments();
    test_instances();
    test_decoder();
    test_stages();
    test_many_notes();
    test_many_classes();
    test_long_name();
    for (int which = 0; which < WIDE_UPER; which++) {
        const char *name = model_names[which];
        const blob b = model_blob(which);
        uint64_t strings[2];
        memcpy(strings, b.bytes + 64, sizeof strings);
        const size_t directory = part_of(b, DIRECTORY), text = (size_t)strings[0];
        const size_t front = text + (size_t)strings[1];
        test_valid(name, b);
        test_arguments(name, b);
        test_header(name, b);
        report(name, "directory bits", determined(b, directory, text));
        test_config(name, b);
        test_strings(name, b, text, front);
        test_truncated(name, b);
        test_longer(name, b);
        test_checksum(name, b, which == PLAIN ? b.size : HEADER);
        test_random(name, b, front, 1000);
        test_reference(name, b);
        free(b.bytes);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
