module meshca.test/linkerd

go 1.24.0

require (
	golang.org/x/net v0.48.0
	google.golang.org/protobuf v1.36.12
)

require golang.org/x/text v0.32.0 // indirect
