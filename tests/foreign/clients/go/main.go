// A gRPC client that does what it is told: commands on stdin, what happens on stdout, each one JSON object a line.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	_ "foreign/health"
	_ "foreign/signaling"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

type command struct {
	Op        string            `json:"op"`
	ID        string            `json:"id"`
	Channel   string            `json:"channel"`
	Method    string            `json:"method"`
	Request   json.RawMessage   `json:"request"`
	Metadata  map[string]string `json:"metadata"`
	TimeoutMs int               `json:"timeout_ms"`
	Gzip      bool              `json:"gzip"`
}

type call struct {
	stream grpc.ClientStream
	cancel context.CancelFunc
	method string
}

type options struct {
	Address     string `json:"address"`
	KeepaliveMs int    `json:"keepalive_ms"`
}

var (
	config   options
	channels = map[string]*grpc.ClientConn{}
	calls    = map[string]call{}
	printing sync.Mutex
)

func main() {
	if err := json.Unmarshal([]byte(os.Args[1]), &config); err != nil {
		panic(err)
	}
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var told command
		if err := json.Unmarshal(line, &told); err != nil {
			panic(err)
		}
		do(told)
	}
}

func do(told command) {
	switch told.Op {
	case "unary":
		go unary(told, channel(told.Channel))
	case "open":
		open(told)
	case "send":
		one := calls[told.ID]
		request, _ := messages(one.method)
		parse(told.Request, request)
		// An error is io.EOF, and the stream's end says why.
		_ = one.stream.SendMsg(request)
	case "half_close":
		_ = calls[told.ID].stream.CloseSend()
	case "cancel":
		calls[told.ID].cancel()
	}
}

func channel(name string) *grpc.ClientConn {
	if channels[name] == nil {
		all := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
		if config.KeepaliveMs > 0 {
			all = append(all, grpc.WithKeepaliveParams(keepalive.ClientParameters{
				Time: time.Duration(config.KeepaliveMs) * time.Millisecond, PermitWithoutStream: true,
			}))
		}
		made, err := grpc.NewClient("passthrough:///"+config.Address, all...)
		if err != nil {
			panic(err)
		}
		channels[name] = made
	}
	return channels[name]
}

func contextOf(told command) (context.Context, context.CancelFunc) {
	ctx := metadata.NewOutgoingContext(context.Background(), metadata.New(told.Metadata))
	if told.TimeoutMs > 0 {
		return context.WithTimeout(ctx, time.Duration(told.TimeoutMs)*time.Millisecond)
	}
	return context.WithCancel(ctx)
}

func callOptions(told command, trailer *metadata.MD) []grpc.CallOption {
	all := []grpc.CallOption{grpc.WaitForReady(true)}
	if trailer != nil {
		all = append(all, grpc.Trailer(trailer))
	}
	if told.Gzip {
		all = append(all, grpc.UseCompressor("gzip"))
	}
	return all
}

func unary(told command, on *grpc.ClientConn) {
	request, response := messages(told.Method)
	parse(told.Request, request)
	ctx, cancel := contextOf(told)
	defer cancel()
	var trailer metadata.MD
	if err := on.Invoke(ctx, told.Method, request, response, callOptions(told, &trailer)...); err != nil {
		end(told.ID, err, trailer)
		return
	}
	say(map[string]any{"id": told.ID, "response": jsonOf(response)})
	end(told.ID, nil, trailer)
}

func open(told command) {
	ctx, cancel := contextOf(told)
	description := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err := channel(told.Channel).NewStream(ctx, description, told.Method, callOptions(told, nil)...)
	if err != nil {
		cancel()
		end(told.ID, err, nil)
		return
	}
	calls[told.ID] = call{stream, cancel, told.Method}
	go func() {
		defer cancel()
		for {
			_, response := messages(told.Method)
			if err := stream.RecvMsg(response); err != nil {
				if err == io.EOF {
					err = nil
				}
				end(told.ID, err, stream.Trailer())
				return
			}
			say(map[string]any{"id": told.ID, "response": jsonOf(response)})
		}
	}()
}

// messages makes the request and the response of a method; an unknown one has those of HealthCheck.
func messages(method string) (proto.Message, proto.Message) {
	name := strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", ".")
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return messages("/remotemedia.v1.webrtc.WebRtcSignaling/HealthCheck")
	}
	described := found.(protoreflect.MethodDescriptor)
	return made(described.Input()), made(described.Output())
}

func made(described protoreflect.MessageDescriptor) proto.Message {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(described.FullName())
	if err != nil {
		panic(err)
	}
	return kind.New().Interface()
}

func parse(text json.RawMessage, into proto.Message) {
	if len(text) == 0 {
		return
	}
	if err := protojson.Unmarshal(text, into); err != nil {
		panic(err)
	}
}

func jsonOf(message proto.Message) json.RawMessage {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		panic(err)
	}
	return text
}

func end(id string, err error, trailer metadata.MD) {
	texts := map[string]string{}
	for name, values := range trailer {
		texts[name] = strings.Join(values, ",")
	}
	how := status.Convert(err)
	say(map[string]any{"id": id, "code": int(how.Code()), "message": how.Message(), "trailers": texts})
}

func say(what map[string]any) {
	text, err := json.Marshal(what)
	if err != nil {
		panic(err)
	}
	printing.Lock()
	defer printing.Unlock()
	_, _ = os.Stdout.Write(append(text, '\n'))
}
