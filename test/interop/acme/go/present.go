package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
)

// present puts an answer to a challenge in place, by the test that runs this program.
func present(kind, name, value string) error {
	request, err := http.NewRequest(http.MethodPut, required("ACME_CONTROL")+"/"+kind+"/"+name, bytes.NewBufferString(value))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", kind, name, response.Status)
	}
	return nil
}

// serveTLS answers tls-alpn-01 until the program ends.
func serveTLS(certificate *tls.Certificate) error {
	listener, err := tls.Listen("tcp", required("ACME_TLS_LISTEN"), &tls.Config{
		Certificates: []tls.Certificate{*certificate},
		NextProtos:   []string{"acme-tls/1"},
	})
	if err != nil {
		return err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func(connection net.Conn) {
				_ = connection.(*tls.Conn).Handshake()
				_ = connection.Close()
			}(connection)
		}
	}()
	return nil
}
