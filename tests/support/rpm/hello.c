/* A program that needs no library: it is linked statically. */
#include <stdio.h>

int main(int count, char **words)
{
    printf("hello from %s", words[0]);
    for (int at = 1; at < count; at++)
        printf(" %s", words[at]);
    putchar('\n');
    return 0;
}
