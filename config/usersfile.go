package config

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

var userColumns = []string{
	"username", "email", "emailVerified", "firstName", "lastName", "enabled", "password", "groups", "roles", "requiredActions",
}

// ReadUsersFile returns the users of a CSV file loosely: Parse says what is wrong
// with it.
func ReadUsersFile(name string, readFile func(string) ([]byte, error)) []User {
	users, _ := readUsers(&decoder{}, name, readFile)
	return users
}

// readUsers reads a CSV file of users and returns them with the place of each,
// for messages. The first line names the columns, in any order: username, email,
// emailVerified, firstName, lastName, enabled, password, groups, roles and
// requiredActions (lists are separated by semicolons), and attributes.NAME for
// attributes. An empty cell is a field left out; password is none by default,
// since thousands of initial passwords are what federation is for.
func readUsers(d *decoder, name string, readFile func(string) ([]byte, error)) ([]User, []string) {
	data, err := readFile(name)
	if err != nil {
		d.errorf("usersFile", "%v", err)
		return nil, nil
	}
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	r.TrimLeadingSpace = true
	header, err := r.Read()
	if err != nil {
		d.errorf("usersFile", "%s has no line of column names", name)
		return nil, nil
	}
	if !d.columns(name, header) {
		return nil, nil
	}
	var users []User
	var where []string
	for {
		row, err := r.Read()
		if err == io.EOF {
			return users, where
		}
		if err != nil {
			d.errorf("usersFile", "%s: %v", name, err)
			if errors.Is(err, csv.ErrFieldCount) {
				continue
			}
			return users, where
		}
		line, _ := r.FieldPos(0)
		path := fmt.Sprintf("usersFile %s:%d", name, line)
		users = append(users, d.user(path, header, row))
		where = append(where, path)
	}
}

// columns checks the line of column names.
func (d *decoder) columns(name string, header []string) bool {
	before := len(d.problems)
	seen := map[string]bool{}
	for _, column := range header {
		if attribute, ok := strings.CutPrefix(column, "attributes."); !slices.Contains(userColumns, column) && (!ok || attribute == "") {
			d.errorf("usersFile", "%s: unknown column %q; there are %s, attributes.NAME", name, column, strings.Join(userColumns, ", "))
		} else if seen[column] {
			d.errorf("usersFile", "%s: column %q is there twice", name, column)
		}
		seen[column] = true
	}
	if !seen["username"] {
		d.errorf("usersFile", "%s has no column username", name)
	}
	return len(d.problems) == before
}

// user is one line of the file.
func (d *decoder) user(path string, header, row []string) User {
	on := true
	u := User{Enabled: &on, Password: "none"}
	for i, column := range header {
		cell := strings.TrimSpace(row[i])
		if cell == "" {
			continue
		}
		switch column {
		case "username":
			u.Username = cell
		case "email":
			u.Email = cell
		case "emailVerified":
			verified := d.boolean(path+": "+column, cell)
			u.EmailVerified = &verified
		case "firstName":
			u.FirstName = cell
		case "lastName":
			u.LastName = cell
		case "enabled":
			on = d.boolean(path+": "+column, cell)
		case "password":
			u.Password = cell
		case "groups":
			u.Groups = list(cell)
		case "roles":
			u.Roles = list(cell)
		case "requiredActions":
			u.RequiredActions = list(cell)
		default:
			if u.Attributes == nil {
				u.Attributes = map[string]string{}
			}
			u.Attributes[strings.TrimPrefix(column, "attributes.")] = cell
		}
	}
	return u
}

func (d *decoder) boolean(path, cell string) bool {
	if cell != "true" && cell != "false" {
		d.errorf(path, "expected true or false")
	}
	return cell == "true"
}

func list(cell string) []string {
	var items []string
	for item := range strings.SplitSeq(cell, ";") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
