/* tests/records.c - prints the tables of >>config: records, their fields, and the kinds' names

   One line a thing: `record NAME TIMES`, `field NAME TYPE COUNT LOW HIGH`, `kind FIELD NUMBER NAME`.
   The converter's description of a model is compared with it. */

#define SWIN_NO_SIMD
#define SWIN_IMPLEMENTATION
#include "../swin.h"
#include <stdio.h>

static void print_field(const swin__field *f)
{
    static const char *const types[] = {"count", "kind", "version", "bits", "number"};
    printf("field %s %s %d %.9g %.9g\n", f->name, types[f->type], f->count, f->low, f->high);
    for (int i = 0; f->kinds && i <= (int)f->high; i++)
        printf("kind %s %d %s\n", f->name, i, f->kinds[i]);
}

int main(void)
{
    static const char *const times[] = {"one", "stages", "optional"};
    for (size_t i = 0; i < sizeof swin__records / sizeof *swin__records; i++) {
        const swin__record *record = &swin__records[i];
        printf("record %s %s\n", record->name, times[record->times]);
        for (int k = 0; k < record->field_count; k++) print_field(&record->fields[k]);
    }
    return 0;
}
