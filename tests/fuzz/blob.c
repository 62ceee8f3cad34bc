/* tests/fuzz/blob.c - model files of every family, damaged field by field: an error, or it runs

   clang -g -O1 -fsanitize=fuzzer,address,undefined,float-cast-overflow tests/fuzz/blob.c -lm

   The first byte chooses a model, each group of up to 8 bytes a wound: a word of the config, with
   the tensors made to fit it again where that can be; a field of the header, of an entry of the
   directory or of the strings; a number of the weights or a scale of theirs; or other strings. The
   weights of half of the models are of eight bits or f16, all or some. The checksum is made right
   again. What opens is asked for all its names and notes, and runs. */
#define SWIN_NO_SIMD
#define SWIN_IMPLEMENTATION
#include "../../swin.h"
#include "../model.h"
#include "fuzz.h"
#include "configs.h"

enum { MEMORY = 1 << 20 };      /* desc.memory_limit */
enum { WOUNDS = 6 };
static const double WORK = 5e6; /* multiply-adds of a run, at most */
static const double LOOKUP = 0.5;       /* seconds for a name and a note, sanitized */

static swin_config at_hand;

static void print_case(void)
{
    fprintf(stderr, "config: ");
    print_config(&at_hand);
    fprintf(stderr, "\n");
}

static uint32_t draw_value(uint32_t old)
{
    static const uint32_t values[] = {0, 1, 2, 3, 4, 15, 16, 17, 63, 64, 65, 255, 256, 257, 4096,
                                      16384, 65535, 65536, 1u << 24, 1u << 26, 0x7fffffff,
                                      0x80000000, 0xffffffff, 0x7f800000, 0xff800000, 0x7fc00000,
                                      0x7f7fffff, 0xff7fffff, 1};
    switch (draw(4)) {
    case 0: return old ^ 1u << draw(32);
    case 1: return old + draw(5) - 2;
    case 2: return draw_word();
    default: return ONE_OF(values);
    }
}

static void wound_word(unsigned char *at)
{
    uint32_t word;
    memcpy(&word, at, 4);
    put32(at, draw_value(word));
}

/* --- strings ---------------------------------------------------------------------------------- */

static size_t draw_note(char *to, size_t at, uint32_t number, uint32_t length)
{
    char key[16];
    snprintf(key, sizeof key, "k%u", number);
    at = add_string(to, at, key);
    memset(to + at, 'x', length);
    to[at + length] = 0;
    return at + length + 1;
}

/* Other strings for the model: more notes, many or long ones, or none of what there should be. */
static char *draw_strings(const swin_config *g, size_t *text)
{
    const uint32_t notes = rarely(3) ? between(1, 30000) : draw(4);
    const uint32_t length = rarely(3) ? between(1, 1 << 20) : draw(64);
    char *strings = (char *)need(64 + 32 * (size_t)g->classes + 16 * (size_t)notes + length);
    *text = rarely(8) ? 0 : make_strings(g, strings);
    for (uint32_t i = 0; i < notes; i++) *text = draw_note(strings, *text, i, i ? 0 : length);
    return strings;
}

/* --- wounds ----------------------------------------------------------------------------------- */

/* Can tensors be made for this config? What the reader refuses is not rebuilt but sent as it is. */
static int rebuildable(const swin_config *g)
{
    unsigned char config[2048];
    swin_config read;
    memset(&read, 0, sizeof read);
    return g->stages >= 1 && g->stages <= SWIN_MAX_STAGES
           && swin__read_config(&read, config, put_config(g, config), NULL) == SWIN_OK
           && swin__check_model(g, NULL) == SWIN_OK && weights_of(g) < 3e5;
}

static blob rebuild(const swin_config *g)
{
    size_t text;
    maker k = new_maker(g);
    dice_state = 7;
    k.numbers = draw_numbers();
    make_tensors(&k);
    char *strings = rarely(4) ? draw_strings(g, &text) : new_strings(g, &text);
    const blob b = wrap(&k, strings, text);
    free_maker(&k);
    free(strings);
    return b;
}

/* A model of a known family, or any; some words of its config other ones. */
static blob draw_blob(void)
{
    const uint32_t which = draw(2 * WIDE_UPER);
    at_hand = which < WIDE_UPER ? model_config((int)which) : draw_model(SMALL);
    while (!rebuildable(&at_hand)) at_hand = draw_model(SMALL);
    swin_config other = at_hand;
    for (uint32_t words = rarely(2) ? between(1, 3) : 0; words; words--)
        wound_word((unsigned char *)&other + 4 * draw(sizeof other / 4));
    other.stages = at_hand.stages;
    if (rebuildable(&other)) {
        at_hand = other;
        return rebuild(&other);
    }
    blob b = rebuild(&at_hand);
    put_config(&other, b.bytes + HEADER);
    at_hand = other;
    return b;
}

/* Where the parts of a blob lie that has no wounds yet. */
typedef struct parts { uint64_t directory, count, text, length, data; size_t scale; } parts;

/* A scale of some tensor's, or in a blob without scales a number of its last tensor. */
static size_t draw_scale(const parts *p, blob b)
{
    const unsigned char *entry = b.bytes + p->directory + draw((uint32_t)p->count) * ENTRY;
    const unsigned char *last = b.bytes + p->directory + (p->count - 1) * ENTRY;
    uint64_t offset;
    uint32_t columns;
    while (entry < last && !strstr((const char *)entry, ".scale")) entry += ENTRY;
    memcpy(&offset, entry + 88, 8);
    memcpy(&columns, entry + 76, 4);
    return (size_t)offset + draw(columns) * 4;
}

static parts parts_of(blob b)
{
    parts p;
    memcpy(&p, b.bytes + 48, 5 * sizeof(uint64_t));
    p.scale = draw_scale(&p, b);
    return p;
}

/* Some place of the parts: header, config, an entry, what it says of its tensor, a scale, the
   strings, the data. */
static size_t draw_place(const parts *p, size_t size)
{
    const size_t entry = (size_t)p->directory + draw((uint32_t)p->count) * ENTRY;
    switch (draw(7)) {
    case 0: return draw(HEADER / 4) * 4;
    case 1: return entry + draw(ENTRY / 4) * 4;
    case 2: return HEADER + draw((uint32_t)(p->directory - HEADER) / 4) * 4;
    case 3: return entry + 64 + draw(10) * 4;
    case 4: return p->scale;
    case 5: return (size_t)p->text + (p->length ? draw((uint32_t)p->length) : 0) / 4 * 4;
    default: return (size_t)p->data + draw((uint32_t)((size - p->data) / 4)) * 4;
    }
}

/* --- trying ----------------------------------------------------------------------------------- */

static void look_up(const swin_model *m, int k, const char *key)
{
    const clock_t start = clock();
    const char *name = swin_class_name(m, k), *note = swin_note(m, key);
    const int is_class = k >= 0 && k < m->config.classes;
    PROMISE(is_class == (name != NULL) && swin_class_color(m, k) < 1u << 24,
            "there are names of classes, and of nothing else");
    PROMISE(!note || strlen(note) + 1 <= m->strings_size, "a note lies in the strings");
    PROMISE((double)(clock() - start) < LOOKUP * CLOCKS_PER_SEC,
            "names and notes are found at once");
}

static void read_strings(const swin_model *m)
{
    const int classes = m->config.classes;
    look_up(m, -1, "name");
    look_up(m, classes, "no such note");
    look_up(m, 0, "k1");
    look_up(m, classes - 1, "");
}

static void check_classes(const swin_model *m, swin_map map)
{
    for (int i = 0; map.data && i < map.width * map.height; i++) {
        const unsigned char *at = (const unsigned char *)map.data + i * map.bytes;
        const unsigned id = at[0] + (map.bytes > 1 ? at[1] * 256u : 0);
        PROMISE(id < (unsigned)m->config.classes, "a pixel's id is a class");
    }
}

static void run(const swin_model *m)
{
    enum { W = 9, H = 7 };
    unsigned char rgb[W * H * 3];
    swin_error e = {SWIN_OK, ""};
    swin_context *c;
    swin_desc d;
    swin_image in;
    memset(&d, 0, sizeof d);
    memset(&in, 0, sizeof in);
    d.picture_width = in.width = W;
    d.picture_height = in.height = H;
    d.memory_limit = MEMORY;
    if (rarely(2)) d.flags = SWIN_RUN_WHOLE;
    swin_reference_picture(rgb, W, H, 1);
    in.data = rgb;
    const size_t size = swin_workspace_size(m, &d, &e);
    if (!size) {
        PROMISE(e.status != SWIN_OK && strlen(e.text) > 10, "a refusal says why");
        count("cannot take the picture");
        return;
    }
    PROMISE(size <= MEMORY, "a workspace keeps to its limit");
    const fenced memory = fenced_new(size, 5, 0xff);
    if (swin_init(&c, m, &d, memory.bytes, size, &e)) broken("what is measured is made", e.text);
    if (c->total < WORK) {
        if (swin_run(c, &in)) broken("what is made runs", swin_error_text(c));
        check_classes(m, swin_classes(c));
        count("ran");
    } else {
        count("too slow to run");
    }
    fenced_free(memory);
}

static void try_reference(blob b)
{
    static const swin_reference r = {1, 7, 20, 10, {3, 4}, {5, 6}};
    swin_model m;
    PROMISE(swin_set_reference(b.bytes, b.size, &r, NULL) == SWIN_OK
                && swin_open(&m, b.bytes, b.size, SWIN_VERIFY, NULL) == SWIN_OK
                && !memcmp(&m.config.reference, &r, sizeof r),
            "a reference is kept and sealed");
}

static void try_blob(blob b)
{
    static const swin_model nothing;
    swin_model m;
    swin_error e = {SWIN_OK, ""};
    const swin_status status = swin_open(&m, b.bytes, b.size, SWIN_VERIFY, &e);
    if (status == SWIN_OK) {
        read_strings(&m);
        run(&m);
        try_reference(b);
        return;
    }
    PROMISE(status == e.status && strlen(e.text) > 10, "a refusal says why");
    PROMISE(!memcmp(&m, &nothing, sizeof m), "a refused model is empty");
    count("refused");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    describe = print_case;
    draw_from(data, size);
    blob b = draw_blob();
    const parts p = parts_of(b);
    for (uint32_t wounds = rarely(3) ? between(1, WOUNDS) : 0; wounds; wounds--) {
        const size_t place = draw_place(&p, b.size);
        if (place + 4 <= b.size) wound_word(b.bytes + place);
    }
    if (rarely(24)) b.size -= b.size < 256 ? 0 : 64 * draw(4);
    seal(b);
    try_blob(b);
    free(b.bytes);
    return 0;
}
