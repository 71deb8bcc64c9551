package etcd

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Txn implements KV. The transaction is sent again only if it surely was not
// done: after etcd has refused the token.
func (c *client) Txn(ctx context.Context, t Txn) (done bool, err error) {
	err = c.call(ctx, t.For, func(ctx context.Context, conn *clientv3.Client) error {
		send := func() (*clientv3.TxnResponse, error) {
			return conn.Txn(ctx).If(compares(t.If)...).Then(writes(t.Ops)...).Commit()
		}
		resp, err := send()
		for c.cfg.User != "" && refusedToken(err) && pause(ctx, retryPause) {
			resp, err = send()
		}
		if err != nil {
			return err
		}
		done = resp.Succeeded
		return c.answeredBy(resp.Header.ClusterId)
	})
	return done && err == nil, err
}

// refusedToken reports whether etcd has refused a request because of its token:
// the token has expired, or a restarted member has forgotten it, or it is older
// than a change of any user or role. The request was surely not done. The library
// has fetched another token by the time it returns this error.
func refusedToken(err error) bool {
	return errors.Is(err, rpctypes.ErrInvalidAuthToken) ||
		errors.Is(err, rpctypes.ErrAuthOldRevision)
}

// Range implements KV. A read is tried again until its timeout, if etcd says that
// it is unavailable, as it does while its members elect a leader, or refuses the
// token. If a member has not answered for half of the timeout, the next member is
// asked.
func (c *client) Range(ctx context.Context, r Range) (Page, error) {
	var page Page
	err := c.call(ctx, r.For, func(ctx context.Context, _ *clientv3.Client) error {
		get := func(limit time.Duration) (resp *clientv3.GetResponse, err error) {
			err = c.within(ctx, limit, func(ctx context.Context, conn *clientv3.Client) error {
				resp, err = conn.Get(ctx, r.From, rangeOptions(r)...)
				return err
			})
			return resp, err
		}
		resp, err := get(c.firstReadTimeout())
		for (noAnswer(err) || refusedToken(err)) && pause(ctx, retryPause) {
			resp, err = get(c.cfg.Timeout)
		}
		if err != nil {
			return err
		}
		page = pageOf(r, resp)
		return c.answeredBy(resp.Header.ClusterId)
	})
	return page, err
}

func pageOf(r Range, resp *clientv3.GetResponse) Page {
	page := Page{Revision: resp.Header.Revision, More: resp.Count - int64(len(resp.Kvs)),
		Keys: make([]KeyValue, len(resp.Kvs))}
	if r.Revision != 0 {
		page.Revision = r.Revision
	}
	for i, kv := range resp.Kvs {
		page.Keys[i] = KeyValue{Key: string(kv.Key), Value: kv.Value,
			CreateRevision: kv.CreateRevision}
	}
	return page
}

func compares(cs []Compare) []clientv3.Cmp {
	out := make([]clientv3.Cmp, len(cs))
	for i, c := range cs {
		switch {
		case c.Value != nil:
			out[i] = clientv3.Compare(clientv3.Value(c.Key), "=", string(c.Value))
		case c.To != "": // etcd compares each key that is there, so it holds if none is
			out[i] = clientv3.Compare(clientv3.CreateRevision(c.Key), "=", 0).WithRange(c.To)
		default:
			out[i] = clientv3.Compare(clientv3.CreateRevision(c.Key), "=", c.CreateRevision)
		}
	}
	return out
}

func writes(ops []Op) []clientv3.Op {
	out := make([]clientv3.Op, len(ops))
	for i, op := range ops {
		if op.Delete {
			out[i] = clientv3.OpDelete(op.Key)
		} else {
			out[i] = clientv3.OpPut(op.Key, string(op.Value))
		}
	}
	return out
}

func rangeOptions(r Range) []clientv3.OpOption {
	var opts []clientv3.OpOption // the order of the keys is the default
	if r.To != "" {
		opts = append(opts, clientv3.WithRange(r.To))
	}
	if r.Revision != 0 {
		opts = append(opts, clientv3.WithRev(r.Revision))
	}
	if r.Limit != 0 {
		opts = append(opts, clientv3.WithLimit(int64(r.Limit)))
	}
	return opts
}
