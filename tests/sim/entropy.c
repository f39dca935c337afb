/* The seed decides everything: what the standard library and tokio draw from the system, the order of hash maps and that in which a
 * watch wakes its receivers, is the same in every run of the simulation. Keys are not made with it: the cryptographic library asks
 * the kernel itself. */

#include <stddef.h>
#include <string.h>
#include <sys/types.h>

ssize_t getrandom(void *buffer, size_t length, unsigned int flags)
{
    (void)flags;
    memset(buffer, 0x5a, length);
    return (ssize_t)length;
}
