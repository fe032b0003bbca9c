package main

import (
	"encoding/json"
	"errors"
	"sync"

	"github.com/gorilla/websocket"
	"github.com/pion/webrtc/v4"
)

type overWebSocket struct {
	connection *websocket.Conn
	sending    sync.Mutex
	last       int
	pending    map[int]chan acknowledgement
	told       chan event
}

// message is whatever comes: a response has an id, an event a method.
type message struct {
	ID     *int            `json:"id"`
	Result acknowledgement `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
	Method string `json:"method"`
	Params struct {
		FromPeerID       string  `json:"from_peer_id"`
		PeerID           string  `json:"peer_id"`
		OfferID          string  `json:"offer_id"`
		SDP              string  `json:"sdp"`
		Candidate        string  `json:"candidate"`
		SDPMid           *string `json:"sdp_mid"`
		SDPMLineIndex    *uint16 `json:"sdp_mline_index"`
		UsernameFragment *string `json:"username_fragment"`
	} `json:"params"`
}

func connectWebSocket(url string) (signaling, error) {
	dialer := websocket.Dialer{Subprotocols: []string{"jsonrpc"}}
	connection, _, err := dialer.Dial(url, nil)
	if err != nil {
		return nil, err
	}
	made := &overWebSocket{connection: connection, pending: map[int]chan acknowledgement{}, told: make(chan event, 1024)}
	go made.read()
	return made, nil
}

func (s *overWebSocket) events() <-chan event { return s.told }

func (s *overWebSocket) close() {
	s.sending.Lock()
	_ = s.connection.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""))
	s.sending.Unlock()
}

func (s *overWebSocket) ask(method string, params map[string]any) (acknowledgement, error) {
	reply := make(chan acknowledgement, 1)
	s.sending.Lock()
	s.last++
	if s.pending == nil {
		s.sending.Unlock()
		return acknowledgement{}, errClosed
	}
	s.pending[s.last] = reply
	err := s.connection.WriteJSON(map[string]any{"jsonrpc": "2.0", "id": s.last, "method": method, "params": params})
	s.sending.Unlock()
	if err != nil {
		return acknowledgement{}, err
	}
	acknowledged := <-reply
	return acknowledged, acknowledged.refusal
}

func (s *overWebSocket) read() {
	defer close(s.told)
	for {
		_, data, err := s.connection.ReadMessage()
		if err != nil {
			s.sending.Lock()
			for _, reply := range s.pending {
				reply <- acknowledgement{refusal: errClosed}
			}
			s.pending = nil
			s.sending.Unlock()
			_ = s.connection.Close()
			return
		}
		var said message
		if err := json.Unmarshal(data, &said); err != nil {
			panic(err)
		}
		if said.ID == nil {
			s.tell(said)
			continue
		}
		if said.Error != nil {
			said.Result.refusal = errors.New(said.Error.Message)
		}
		s.sending.Lock()
		s.pending[*said.ID] <- said.Result
		delete(s.pending, *said.ID)
		s.sending.Unlock()
	}
}

func (s *overWebSocket) tell(said message) {
	params := said.Params
	told := event{kind: said.Method, from: params.FromPeerID, sdp: params.SDP, offerID: params.OfferID}
	switch said.Method {
	case "peer_left", "peer_disconnected":
		told.from = params.PeerID
	case "ice_candidate":
		told.candidate = webrtc.ICECandidateInit{
			Candidate: params.Candidate, SDPMid: params.SDPMid, SDPMLineIndex: params.SDPMLineIndex,
			UsernameFragment: params.UsernameFragment,
		}
	case "offer", "answer":
	default:
		return
	}
	s.told <- told
}

func (s *overWebSocket) announce(id, room string) error {
	_, err := s.ask("announce", map[string]any{"peer_id": id, "room": room})
	return err
}

func (s *overWebSocket) offer(to, sdp string) (string, error) {
	acknowledged, err := s.ask("offer", map[string]any{"to_peer_id": to, "sdp": sdp})
	return acknowledged.OfferID, err
}

func (s *overWebSocket) answer(to, sdp, offerID string) error {
	_, err := s.ask("answer", map[string]any{"to_peer_id": to, "sdp": sdp, "offer_id": offerID})
	return err
}

func (s *overWebSocket) candidate(to string, candidate webrtc.ICECandidateInit, offerID string) error {
	// The names of Pion's own JSON are those of browsers, which the server understands.
	_, err := s.ask("ice_candidate", map[string]any{
		"to_peer_id": to, "offer_id": offerID, "candidate": candidate.Candidate, "sdpMid": candidate.SDPMid,
		"sdpMLineIndex": candidate.SDPMLineIndex, "usernameFragment": candidate.UsernameFragment,
	})
	return err
}

func (s *overWebSocket) disconnect(peer, offerID string) error {
	_, err := s.ask("disconnect", map[string]any{"peer_id": peer, "offer_id": offerID})
	return err
}
