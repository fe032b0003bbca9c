// Peers with Pion that do what they are told: lines of JSON on stdin, what happens on stdout. tests/stacks has their meaning.
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"sync"
)

// line is an order: what the peer of that number does.
type line struct {
	Peer int    `json:"peer"`
	Op   string `json:"op"`
	URL  string `json:"url"`
	ID   string `json:"id"`
	Room string `json:"room"`
	To   string `json:"to"`
	Text string `json:"text"`
}

var printing sync.Mutex

func main() {
	peers := map[int]*peer{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var told line
		if err := json.Unmarshal(lines.Bytes(), &told); err != nil {
			panic(err)
		}
		one := peers[told.Peer]
		if one == nil {
			one = newPeer(told.Peer)
			peers[told.Peer] = one
		}
		one.post(func() { one.do(told) })
	}
}

func connect(url string) (signaling, error) {
	if address, isGRPC := strings.CutPrefix(url, "grpc://"); isGRPC {
		return connectGRPC(address)
	}
	return connectWebSocket(url)
}

func say(number int, what string, more map[string]any) {
	tidings := map[string]any{"peer": number, "said": what}
	for name, value := range more {
		tidings[name] = value
	}
	text, err := json.Marshal(tidings)
	if err != nil {
		panic(err)
	}
	printing.Lock()
	defer printing.Unlock()
	_, _ = os.Stdout.Write(append(text, '\n'))
}
