/* The floor for a UDP server on this kernel: receive a batch, set the QR bit, send the batch back.
 *
 * echo PORT. No parsing, no lookup, no answer: what is left is what the kernel costs. Ends by a signal. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, SIZE = 1500 };

static unsigned char buffers[BATCH][SIZE];
static struct mmsghdr messages[BATCH];
static struct iovec parts[BATCH];
static struct sockaddr_in peers[BATCH];

static int receive(int socket_fd)
{
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){ .iov_base = buffers[i], .iov_len = SIZE };
        messages[i].msg_hdr = (struct msghdr){
            .msg_iov = &parts[i], .msg_iovlen = 1, .msg_name = &peers[i], .msg_namelen = sizeof peers[i]
        };
    }
    return recvmmsg(socket_fd, messages, BATCH, MSG_WAITFORONE, NULL);
}

static void reply(int socket_fd, int count)
{
    for (int i = 0; i < count; i++) {
        buffers[i][2] |= 0x80;
        parts[i].iov_len = messages[i].msg_len;
    }
    for (int sent = 0; sent < count;) {
        int now = sendmmsg(socket_fd, messages + sent, count - sent, 0);
        if (now <= 0)
            break;
        sent += now;
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "echo PORT\n");
        return 2;
    }
    int socket_fd = socket(AF_INET, SOCK_DGRAM, 0);
    int octets = 4 << 20;
    setsockopt(socket_fd, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    if (bind(socket_fd, (struct sockaddr *)&address, sizeof address) < 0) {
        perror("bind");
        return 1;
    }
    for (;;) {
        int count = receive(socket_fd);
        if (count > 0)
            reply(socket_fd, count);
    }
}
