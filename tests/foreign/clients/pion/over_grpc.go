package main

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"

	pb "pionpeer/signalingpb"

	"github.com/pion/webrtc/v4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

type overGRPC struct {
	connection *grpc.ClientConn
	stream     grpc.BidiStreamingClient[pb.SignalingRequest, pb.SignalingResponse]
	sending    sync.Mutex
	last       int
	pending    map[string]chan acknowledgement
	told       chan event
}

func connectGRPC(address string) (signaling, error) {
	connection, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	stream, err := pb.NewWebRtcSignalingClient(connection).Signal(context.Background())
	if err != nil {
		return nil, err
	}
	made := &overGRPC{
		connection: connection, stream: stream, pending: map[string]chan acknowledgement{}, told: make(chan event, 1024),
	}
	go made.read()
	return made, nil
}

func (s *overGRPC) events() <-chan event { return s.told }

func (s *overGRPC) close() { _ = s.connection.Close() }

func (s *overGRPC) ask(request *pb.SignalingRequest) (acknowledgement, error) {
	reply := make(chan acknowledgement, 1)
	s.sending.Lock()
	s.last++
	request.RequestId = strconv.Itoa(s.last)
	if s.pending == nil {
		s.sending.Unlock()
		return acknowledgement{}, errClosed
	}
	s.pending[request.RequestId] = reply
	err := s.stream.Send(request)
	s.sending.Unlock()
	if err != nil {
		return acknowledgement{}, err
	}
	acknowledged := <-reply
	return acknowledged, acknowledged.refusal
}

func (s *overGRPC) read() {
	defer close(s.told)
	for {
		response, err := s.stream.Recv()
		if err != nil {
			s.sending.Lock()
			for _, reply := range s.pending {
				reply <- acknowledgement{refusal: errClosed}
			}
			s.pending = nil
			s.sending.Unlock()
			return
		}
		if notification := response.GetNotification(); notification != nil {
			s.tell(notification)
			continue
		}
		var acknowledged acknowledgement
		if refused := response.GetError(); refused != nil {
			acknowledged.refusal = errors.New(refused.Message)
		} else if err := json.Unmarshal([]byte(response.GetAck().GetData()), &acknowledged); err != nil {
			panic(err)
		}
		s.sending.Lock()
		s.pending[response.RequestId] <- acknowledged
		delete(s.pending, response.RequestId)
		s.sending.Unlock()
	}
}

func (s *overGRPC) tell(notification *pb.SignalingNotification) {
	switch said := notification.Notification.(type) {
	case *pb.SignalingNotification_PeerLeft:
		s.told <- event{kind: "peer_left", from: said.PeerLeft.PeerId}
	case *pb.SignalingNotification_Offer:
		s.told <- event{kind: "offer", from: said.Offer.FromPeerId, sdp: said.Offer.Sdp, offerID: said.Offer.OfferId}
	case *pb.SignalingNotification_Answer:
		s.told <- event{kind: "answer", from: said.Answer.FromPeerId, sdp: said.Answer.Sdp, offerID: said.Answer.OfferId}
	case *pb.SignalingNotification_IceCandidate:
		one := said.IceCandidate
		s.told <- event{
			kind: "ice_candidate", from: one.FromPeerId, offerID: one.OfferId, candidate: candidateFromProto(one),
		}
	case *pb.SignalingNotification_PeerDisconnected:
		s.told <- event{
			kind: "peer_disconnected", from: said.PeerDisconnected.PeerId, offerID: said.PeerDisconnected.OfferId,
		}
	}
}

// docs: a candidate of Pion as a request, and a notification as a candidate of Pion
func candidateToProto(to, offerID string, candidate webrtc.ICECandidateInit) *pb.IceCandidateRequest {
	request := &pb.IceCandidateRequest{
		ToPeerId: to, OfferId: offerID, Candidate: candidate.Candidate,
		SdpMid: candidate.SDPMid, UsernameFragment: candidate.UsernameFragment,
	}
	if candidate.SDPMLineIndex != nil {
		index := uint32(*candidate.SDPMLineIndex)
		request.SdpMlineIndex = &index
	}
	return request
}

func candidateFromProto(said *pb.IceCandidateNotification) webrtc.ICECandidateInit {
	candidate := webrtc.ICECandidateInit{
		Candidate: said.Candidate, SDPMid: said.SdpMid, UsernameFragment: said.UsernameFragment,
	}
	if said.SdpMlineIndex != nil {
		index := uint16(*said.SdpMlineIndex)
		candidate.SDPMLineIndex = &index
	}
	return candidate
}

// docs: end

func (s *overGRPC) announce(id, room string) error {
	_, err := s.ask(&pb.SignalingRequest{Request: &pb.SignalingRequest_Announce{
		Announce: &pb.AnnounceRequest{PeerId: id, Room: room},
	}})
	return err
}

func (s *overGRPC) offer(to, sdp string) (string, error) {
	acknowledged, err := s.ask(&pb.SignalingRequest{Request: &pb.SignalingRequest_Offer{
		Offer: &pb.OfferRequest{ToPeerId: to, Sdp: sdp, Type: "offer"},
	}})
	return acknowledged.OfferID, err
}

func (s *overGRPC) answer(to, sdp, offerID string) error {
	_, err := s.ask(&pb.SignalingRequest{Request: &pb.SignalingRequest_Answer{
		Answer: &pb.AnswerRequest{ToPeerId: to, Sdp: sdp, Type: "answer", OfferId: offerID},
	}})
	return err
}

func (s *overGRPC) candidate(to string, candidate webrtc.ICECandidateInit, offerID string) error {
	_, err := s.ask(&pb.SignalingRequest{Request: &pb.SignalingRequest_IceCandidate{
		IceCandidate: candidateToProto(to, offerID, candidate),
	}})
	return err
}

func (s *overGRPC) disconnect(peer, offerID string) error {
	_, err := s.ask(&pb.SignalingRequest{Request: &pb.SignalingRequest_Disconnect{
		Disconnect: &pb.DisconnectRequest{PeerId: peer, OfferId: offerID},
	}})
	return err
}
