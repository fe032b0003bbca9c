package main

import (
	"errors"

	"github.com/pion/webrtc/v4"
)

var errClosed = errors.New("the connection has ended")

// event is what the server tells, whatever the protocol.
type event struct {
	kind      string
	from      string
	sdp       string
	offerID   string
	candidate webrtc.ICECandidateInit
}

// signaling is one session; its requests return when they are acknowledged, and next yields events until the end.
type signaling interface {
	announce(id, room string) error
	offer(to, sdp string) (offerID string, err error)
	answer(to, sdp, offerID string) error
	candidate(to string, candidate webrtc.ICECandidateInit, offerID string) error
	disconnect(peer, offerID string) error
	events() <-chan event
	close()
}

// acknowledgement is what is known of any response: offers have an id.
type acknowledgement struct {
	OfferID string `json:"offer_id"`
	refusal error
}
