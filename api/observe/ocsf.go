package observe

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"runtime/debug"
	"time"
)

// The class of our events in the Open Cybersecurity Schema Framework, and the
// version that they are of (schema.ocsf.io).
const (
	ocsfVersion     = "1.6.0"
	ocsfCategory    = 6    // Application Activity
	ocsfAPIActivity = 6003 // class API Activity
)

// Values of enumerations of that class.
const (
	ocsfRead, ocsfOther                = 2, 99 // activity_id
	ocsfSuccess, ocsfFailure           = 1, 2  // status_id
	ocsfAllowedAction, ocsfDenied      = 1, 2  // action_id
	ocsfAllowedDisposition, ocsfBlocks = 1, 2  // disposition_id
	ocsfInformational, ocsfLow         = 1, 2  // severity_id
)

type ocsfEvent struct {
	ActivityID    int            `json:"activity_id"`
	ActivityName  string         `json:"activity_name"`
	CategoryUID   int            `json:"category_uid"`
	ClassUID      int            `json:"class_uid"`
	TypeUID       int            `json:"type_uid"`
	SeverityID    int            `json:"severity_id"`
	Time          int64          `json:"time"`     // milliseconds
	Duration      int64          `json:"duration"` // milliseconds
	StatusID      int            `json:"status_id"`
	StatusCode    string         `json:"status_code"`
	StatusDetail  string         `json:"status_detail,omitempty"`
	ActionID      int            `json:"action_id"`
	DispositionID int            `json:"disposition_id"`
	Actor         ocsfActor      `json:"actor"`
	API           ocsfAPI        `json:"api"`
	Resources     []ocsfNamed    `json:"resources,omitempty"`
	Source        ocsfEndpoint   `json:"src_endpoint"`
	HTTPRequest   ocsfRequest    `json:"http_request"`
	HTTPResponse  ocsfResponse   `json:"http_response"`
	Metadata      ocsfMetadata   `json:"metadata"`
	Unmapped      map[string]any `json:"unmapped,omitempty"`
}

type ocsfActor struct {
	User    *ocsfUser    `json:"user,omitempty"`
	Session *ocsfSession `json:"session,omitempty"`
	AppUID  string       `json:"app_uid,omitempty"`
	// One of the members must be there (the schema's at_least_one).
	AppName string `json:"app_name,omitempty"`
}

type ocsfUser struct {
	Name   string      `json:"name,omitempty"`
	UID    string      `json:"uid"`
	Domain string      `json:"domain"` // the issuer
	Groups []ocsfNamed `json:"groups,omitempty"`
}

type ocsfSession struct {
	UID    string `json:"uid"`
	Issuer string `json:"issuer"`
}

type ocsfAPI struct {
	Operation string          `json:"operation"`
	Service   ocsfNamed       `json:"service"`
	Request   ocsfID          `json:"request"`
	Response  ocsfAPIResponse `json:"response"`
}

type ocsfAPIResponse struct {
	Code  int    `json:"code"`
	Error string `json:"error,omitempty"`
}

type ocsfID struct {
	UID string `json:"uid"`
}

type ocsfNamed struct {
	Name string `json:"name"`
	Type string `json:"type,omitempty"`
}

type ocsfEndpoint struct {
	IP   string `json:"ip,omitempty"`
	Name string `json:"name,omitempty"`
}

type ocsfRequest struct {
	UID    string  `json:"uid"`
	Method string  `json:"http_method"`
	URL    ocsfURL `json:"url"`
}

type ocsfURL struct {
	Path string `json:"path"`
}

type ocsfResponse struct {
	Code    int   `json:"code"`
	Latency int64 `json:"latency"` // milliseconds
}

type ocsfMetadata struct {
	Version  string      `json:"version"`
	UID      string      `json:"uid"`
	Trace    string      `json:"correlation_uid,omitempty"`
	LogName  string      `json:"log_name"`
	Product  ocsfProduct `json:"product"`
	Profiles []string    `json:"profiles"`
}

type ocsfProduct struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
	Version    string `json:"version"`
}

// product is the name of this program to programs that collect events.
const product = "keycloak-model-api"

// OCSF is the Form of events of the class API Activity (6003).
func OCSF(now func() time.Time) Form {
	metadata := ocsfMetadata{
		Version: ocsfVersion, LogName: "audit", Profiles: []string{"security_control"},
		Product: ocsfProduct{Name: product, VendorName: product, Version: "unknown"},
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		metadata.Product.Version = info.Main.Version
	}
	return func(w io.Writer) func(context.Context, *Record) {
		return func(_ context.Context, r *Record) {
			// Every member is a string or a number, so there is no error.
			line, _ := json.Marshal(r.ocsf(now(), metadata))
			_, _ = w.Write(append(line, '\n'))
		}
	}
}

// ocsf returns the event of a record.
func (r *Record) ocsf(now time.Time, metadata ocsfMetadata) *ocsfEvent {
	metadata.UID, metadata.Trace = r.Request, r.Trace
	e := &ocsfEvent{
		ActivityID: ocsfOther, ActivityName: r.Action, CategoryUID: ocsfCategory, ClassUID: ocsfAPIActivity,
		SeverityID: ocsfInformational, Time: now.UnixMilli(), Duration: r.Took.Milliseconds(),
		StatusID: ocsfSuccess, StatusCode: r.Code, ActionID: ocsfAllowedAction, DispositionID: ocsfAllowedDisposition,
		Actor: r.ocsfActor(),
		API: ocsfAPI{
			Operation: r.Action, Service: ocsfNamed{Name: product}, Request: ocsfID{r.Request},
			Response: ocsfAPIResponse{Code: r.Status},
		},
		Source:       ocsfEndpoint{IP: r.Address},
		HTTPRequest:  ocsfRequest{r.Request, r.Method, ocsfURL{r.Path}},
		HTTPResponse: ocsfResponse{r.Status, r.Took.Milliseconds()},
		Metadata:     metadata, Unmapped: map[string]any{},
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		e.ActivityID = ocsfRead
	}
	e.TypeUID = ocsfAPIActivity*100 + e.ActivityID
	if r.Action == "" {
		e.ActivityName, e.API.Operation = r.Method, r.Method
	}
	if r.Address == "" {
		e.Source.Name = "unknown"
	}
	if r.Model != "" {
		e.Resources = []ocsfNamed{{r.Model, "model"}}
	}
	if !r.Allowed {
		e.ActionID, e.DispositionID, e.SeverityID = ocsfDenied, ocsfBlocks, ocsfLow
	}
	if r.Code != "allowed" || r.Status >= http.StatusInternalServerError {
		e.StatusID, e.API.Response.Error = ocsfFailure, r.Code
	}
	if r.Cause != nil {
		e.StatusDetail = r.Cause.Error()
	}
	if r.Policy > 0 {
		e.Unmapped["policy"] = r.Policy
	}
	if r.Key != "" {
		e.Unmapped["key"] = r.Key
	}
	if r.Usage != nil {
		e.Unmapped["usage"] = r.Usage
	}
	if r.notRecorded > 0 {
		e.Unmapped["not_recorded"] = r.notRecorded
	}
	return e
}

func (r *Record) ocsfActor() ocsfActor {
	a := ocsfActor{AppUID: r.Client}
	if r.Subject == "" {
		a.AppName = "unknown"
		return a
	}
	a.User = &ocsfUser{Name: r.Username, UID: r.Subject, Domain: r.Issuer}
	for _, group := range r.Groups {
		a.User.Groups = append(a.User.Groups, ocsfNamed{Name: group})
	}
	if r.Session != "" {
		a.Session = &ocsfSession{UID: r.Session, Issuer: r.Issuer}
	}
	return a
}
