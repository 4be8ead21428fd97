/* The floor for a server that answers one request at a time over TCP on this kernel: read, write a fixed reply, wait.
 *
 * reply PORT OCTETS. No parsing, no lookup: what is left is what the kernel costs, waking the other side included. It
 * waits as event loops do, with epoll. One connection at a time; ends by a signal. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SIZE_MAX_OCTETS = 65536 };

static char buffer[SIZE_MAX_OCTETS];

static void serve(int client, size_t size)
{
    int one = 1, poll = epoll_create1(0);
    struct epoll_event event = { .events = EPOLLIN | EPOLLET };
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    epoll_ctl(poll, EPOLL_CTL_ADD, client, &event);
    for (;;) {
        epoll_wait(poll, &event, 1, -1);
        ssize_t got = recv(client, buffer, sizeof buffer, MSG_DONTWAIT);
        if (got == 0)
            break;
        if (got > 0 && send(client, buffer, size, MSG_NOSIGNAL) < 0)
            break;
    }
    close(poll);
    close(client);
}

int main(int argc, char **argv)
{
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    size_t size = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    if (size == 0 || size > SIZE_MAX_OCTETS) {
        fprintf(stderr, "reply PORT OCTETS\n");
        return 64;
    }
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 8) < 0) {
        perror("reply");
        return 71;
    }
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client >= 0)
            serve(client, size);
    }
}
