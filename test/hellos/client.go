// A Go client for the recorder: go run client.go ADDRESS MAX_VERSION TIMES.
// Connects TIMES times, each with the session of the one before.
package main

import (
	"crypto/tls"
	"io"
	"log"
	"os"
	"strconv"
)

func main() {
	config := &tls.Config{
		ServerName:         "farm.example",
		InsecureSkipVerify: true,
		NextProtos:         []string{"h2", "http/1.1"},
		ClientSessionCache: tls.NewLRUClientSessionCache(8),
	}
	if os.Args[2] == "1.2" {
		config.MaxVersion = tls.VersionTLS12
	}
	times, err := strconv.Atoi(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	for i := 0; i < times; i++ {
		conn, err := tls.Dial("tcp", os.Args[1], config)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: farm.example\r\n\r\n"); err != nil {
			log.Fatal(err)
		}
		// Reading to the end takes in the tickets.
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
	}
}
