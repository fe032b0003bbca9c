package main

import (
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/pion/webrtc/v4"
)

// peer is one announced peer and its calls. All it does is done on one goroutine, in the order in which it was posted.
type peer struct {
	number  int
	id      string
	session signaling
	calls   map[string]*call
	posted  chan func()
}

// call is one connection with one other peer. Its states, and what leads from one to the next:
//
//	offering ──their answer──► talking     we have called: their candidates are held until then
//	answering ──our answer is taken──► talking
//	any ──hang-up, their leaving, their newer offer──► over
type call struct {
	state      string
	offerID    string
	theirs     string // the certificates of their connection
	connection *webrtc.PeerConnection
	channel    *webrtc.DataChannel
	held       []webrtc.ICECandidateInit
}

func newPeer(number int) *peer {
	made := &peer{number: number, calls: map[string]*call{}, posted: make(chan func(), 1024)}
	go func() {
		for do := range made.posted {
			do()
		}
	}()
	return made
}

func (p *peer) post(do func()) { p.posted <- do }

func (p *peer) say(what string, more map[string]any) { say(p.number, what, more) }

// fault says what should not be; nothing where nothing is wrong.
func (p *peer) fault(err error) bool {
	if err != nil {
		p.say("fault", map[string]any{"why": err.Error()})
	}
	return err != nil
}

func (p *peer) do(told line) {
	switch told.Op {
	case "join":
		session, err := connect(told.URL)
		if p.fault(err) {
			return
		}
		p.session, p.id = session, told.ID
		if p.fault(session.announce(told.ID, told.Room)) {
			return
		}
		// Events have a goroutine of their own: this one waits for acknowledgements.
		go func() {
			for one := range session.events() {
				p.post(func() { p.take(one) })
			}
			p.post(func() { p.say("lost", nil) })
		}()
		p.say("joined", nil)
	case "call":
		p.call(told.To)
	case "call_again":
		p.hangUp(told.To)
		p.call(told.To)
	case "send":
		if one := p.calls[told.To]; one != nil && one.channel != nil {
			p.fault(one.channel.Send([]byte(told.Text)))
		}
	case "hang_up":
		p.hangUp(told.To)
	case "leave":
		for to := range p.calls {
			p.end(to, "left")
		}
		p.session.close()
	default:
		p.say("fault", map[string]any{"why": "no such order: " + told.Op})
	}
}

func (p *peer) call(to string) {
	if p.calls[to] != nil {
		return // they have called meanwhile, and one call is enough
	}
	one := p.begin(to, "offering")
	channel, err := one.connection.CreateDataChannel("talk", nil)
	if p.fault(err) {
		return
	}
	p.use(to, one, channel)
	offer, err := one.connection.CreateOffer(nil)
	if p.fault(err) {
		return
	}
	one.offerID, err = p.session.offer(to, offer.SDP)
	if err != nil {
		p.end(to, err.Error())
		return
	}
	// Only now, so that no candidate overtakes the offer, and each can say its id.
	p.fault(one.connection.SetLocalDescription(offer))
}

func (p *peer) hangUp(to string) {
	one := p.calls[to]
	if one == nil {
		return
	}
	p.end(to, "hung_up")
	p.fault(p.session.disconnect(to, one.offerID))
}

func (p *peer) take(told event) {
	one := p.calls[told.from]
	isOurs := one != nil && (told.offerID == "" || told.offerID == one.offerID)
	switch told.kind {
	case "offer":
		// Glare: of two that call each other at once, the greater id is heard. Go compares texts by their bytes.
		if one != nil && one.state == "offering" && p.id > told.from {
			return
		}
		// Of the connection that there is, it negotiates that anew; of another one, it is another call.
		if one != nil && one.theirs != certificatesOf(told.sdp) {
			p.end(told.from, "called_again")
			one = nil
		}
		p.answer(told, one)
	case "answer":
		if isOurs && one.state == "offering" {
			answer := webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: told.sdp}
			if p.fault(one.connection.SetRemoteDescription(answer)) {
				return
			}
			one.state, one.theirs = "talking", certificatesOf(told.sdp)
			for _, candidate := range one.held {
				p.fault(one.connection.AddICECandidate(candidate))
			}
		}
	case "ice_candidate":
		if isOurs && one.state == "offering" {
			one.held = append(one.held, told.candidate)
		} else if isOurs {
			p.fault(one.connection.AddICECandidate(told.candidate))
		}
	case "peer_disconnected":
		if isOurs {
			p.end(told.from, "peer_hung_up")
		}
	case "peer_left":
		if one != nil {
			p.end(told.from, "peer_left")
		}
	}
}

// certificatesOf tells the certificates that a description names: another connection has others.
func certificatesOf(sdp string) string {
	found := fingerprints.FindAllString(strings.ToLower(sdp), -1)
	slices.Sort(found)
	return strings.Join(slices.Compact(found), ",")
}

var fingerprints = regexp.MustCompile(`(?m)^a=fingerprint:\S+ \S+`)

func (p *peer) answer(told event, one *call) {
	if one == nil {
		one = p.begin(told.from, "answering")
	}
	one.offerID, one.theirs = told.offerID, certificatesOf(told.sdp)
	offer := webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: told.sdp}
	if p.fault(one.connection.SetRemoteDescription(offer)) {
		return
	}
	answer, err := one.connection.CreateAnswer(nil)
	if p.fault(err) {
		return
	}
	if err := p.session.answer(told.from, answer.SDP, one.offerID); err != nil {
		// They have hung up, or left, or call anew, which is on its way.
		p.end(told.from, "refused")
		return
	}
	one.state = "talking"
	p.fault(one.connection.SetLocalDescription(answer))
}

// begin makes a call with a new connection, whose candidates are told as they are found, a last empty one included.
func (p *peer) begin(to, state string) *call {
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetIPFilter(func(address net.IP) bool { return address.Equal(net.IPv4(127, 0, 0, 1)) })
	connection, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		panic(err)
	}
	one := &call{state: state, connection: connection}
	p.calls[to] = one
	connection.OnDataChannel(func(channel *webrtc.DataChannel) {
		p.use(to, one, channel)
	})
	connection.OnICECandidate(func(found *webrtc.ICECandidate) {
		candidate := webrtc.ICECandidateInit{} // nil: there are no more
		if found != nil {
			candidate = found.ToJSON()
		}
		p.post(func() {
			if p.calls[to] == one {
				_ = p.session.candidate(to, candidate, one.offerID) // refused where they have left
			}
		})
	})
	connection.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateFailed {
			p.post(func() { p.say("failed", map[string]any{"with": to}) })
		}
	})
	return one
}

func (p *peer) use(to string, one *call, channel *webrtc.DataChannel) {
	channel.OnOpen(func() {
		p.post(func() {
			if one.channel != nil || one.state == "over" {
				return // the other side has made a channel, too
			}
			one.channel = channel
			p.say("open", map[string]any{"with": to, "offer_id": one.offerID})
		})
	})
	channel.OnMessage(func(message webrtc.DataChannelMessage) {
		p.post(func() { p.say("heard", map[string]any{"with": to, "text": string(message.Data)}) })
	})
}

func (p *peer) end(to, why string) {
	one := p.calls[to]
	delete(p.calls, to)
	one.state = "over"
	p.fault(one.connection.Close())
	p.say("ended", map[string]any{"with": to, "why": why, "offer_id": one.offerID})
}
