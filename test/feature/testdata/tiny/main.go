// Command tiny answers every request with 200 and next to no memory, so that a thousand of it fit on one
// machine while the memory of Sluice itself is measured.
package main

import (
	"bufio"
	"net"
	"os"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		panic(err)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go serve(conn)
	}
}

func serve(conn net.Conn) {
	defer conn.Close()
	for r := bufio.NewReaderSize(conn, 1024); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if line == "\r\n" { // the end of the headers; there is no body
			if _, err := conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")); err != nil {
				return
			}
		}
	}
}
