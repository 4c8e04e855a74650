// Verifies the chains that arrive on the standard input with crypto/x509, as a TLS server does with
// a client's certificate. Each chain is a line of output: empty, or the error.
package main

import (
	"bufio"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Println(runtime.Version())
		return
	}
	seconds, err := strconv.ParseInt(os.Args[1], 10, 64)
	if err != nil {
		panic(err)
	}
	at := time.Unix(seconds, 0)
	input := bufio.NewReaderSize(os.Stdin, 1<<20)
	output := bufio.NewWriter(os.Stdout)
	for {
		anchors, intermediates, leaf, err := read(input)
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(err)
		}
		text := ""
		if err := verify(anchors, intermediates, leaf, at); err != nil {
			text = strings.ReplaceAll(err.Error(), "\n", " ")
		}
		output.WriteString(text + "\n")
		if input.Buffered() == 0 {
			output.Flush()
		}
	}
}

// read returns one chain: two bytes with the number of anchors and of intermediates, and then each
// certificate after its length in four bytes, the leaf last.
func read(input *bufio.Reader) (anchors, intermediates [][]byte, leaf []byte, err error) {
	counts := make([]byte, 2)
	if _, err = io.ReadFull(input, counts); err != nil {
		return
	}
	for range counts[0] {
		anchors = append(anchors, certificate(input))
	}
	for range counts[1] {
		intermediates = append(intermediates, certificate(input))
	}
	return anchors, intermediates, certificate(input), nil
}

func certificate(input *bufio.Reader) []byte {
	length := make([]byte, 4)
	if _, err := io.ReadFull(input, length); err != nil {
		panic(err)
	}
	der := make([]byte, binary.BigEndian.Uint32(length))
	if _, err := io.ReadFull(input, der); err != nil {
		panic(err)
	}
	return der
}

func verify(anchors, intermediates [][]byte, leaf []byte, at time.Time) error {
	options := x509.VerifyOptions{
		Roots:         x509.NewCertPool(),
		Intermediates: x509.NewCertPool(),
		CurrentTime:   at,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, der := range anchors {
		anchor, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("parse: %w", err)
		}
		options.Roots.AddCert(anchor)
	}
	for _, der := range intermediates {
		intermediate, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("parse: %w", err)
		}
		options.Intermediates.AddCert(intermediate)
	}
	parsed, err := x509.ParseCertificate(leaf)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	_, err = parsed.Verify(options)
	return err
}
