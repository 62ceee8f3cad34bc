/* report.h - counts a test's checks as it names them */
#ifndef REPORT_H
#define REPORT_H

#include <stdio.h>

static int passed, failed;

static void report(const char *what, int ok)
{
    printf("%s: %s\n", what, ok ? "ok" : "FAILED");
    fflush(stdout);
    if (ok) passed++;
    else failed++;
}

#endif
