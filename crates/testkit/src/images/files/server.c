/* One program for images that have nothing else: `serve` answers HTTP on port 8080, anything else is said back. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int serve(void) {
  static const char answer[] = "HTTP/1.0 200 OK\r\ncontent-length: 11\r\n\r\nall by one\n";
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8080)};
  int server = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(server, (struct sockaddr *)&address, sizeof address) < 0 || listen(server, 16) < 0) {
    perror("cannot listen on port 8080");
    return 1;
  }
  puts("listening on 8080");
  fflush(stdout);
  for (;;) {
    char request[4096];
    int peer = accept(server, NULL, NULL);
    if (peer < 0)
      continue;
    if (read(peer, request, sizeof request) > 0 && write(peer, answer, sizeof answer - 1) < 0)
      perror("cannot answer");
    close(peer);
  }
}

int main(int count, char **words) {
  if (count == 2 && strcmp(words[1], "serve") == 0)
    return serve();
  for (int word = 1; word < count; word++)
    printf("%s%c", words[word], word + 1 < count ? ' ' : '\n');
  return 0;
}
