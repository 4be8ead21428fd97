/* The floor for TCP to a file: read, write, nothing else. sink PORT FILE */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS 128

static char buffer[65536];

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: sink PORT FILE\n");
        return 64;
    }
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int file = open(argv[2], O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64) || file < 0) {
        perror("sink");
        return 71;
    }
    struct pollfd polled[CONNECTIONS] = {{.fd = listener, .events = POLLIN}};
    int count = 1;
    for (;;) {
        poll(polled, count, -1);
        if (polled[0].revents && count < CONNECTIONS)
            polled[count++] = (struct pollfd){.fd = accept(listener, 0, 0), .events = POLLIN};
        for (int i = 1; i < count; i++) {
            if (!polled[i].revents)
                continue;
            ssize_t got = read(polled[i].fd, buffer, sizeof buffer);
            if (got <= 0) {
                close(polled[i].fd);
                polled[i--] = polled[--count];
            } else if (write(file, buffer, got) != got) {
                perror("sink");
                return 74;
            }
        }
    }
}
