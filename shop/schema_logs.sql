-- The logs beside the shop's tables, to which rows are only ever added: movements of stock, and what happened to orders.
-- Added to the shop after its tables were; a shop that was made without them gets them when it is next opened.
-- The keys and indexes, cheaper to build once the rows are there, stand below the line of dashes.

create table stock_movements (
    movement_id bigint not null,
    store_id bigint not null,
    product_id bigint not null,
    moved_at timestamptz not null,
    reason_code text not null check (reason_code in ('delivery', 'sale', 'count', 'waste', 'return')),
    quantity_change integer not null,
    received_at timestamptz not null
);

create table order_events (
    order_id bigint not null,
    version integer not null check (version > 0),
    event_type text not null,
    payload jsonb not null,
    occurred_at timestamptz not null,
    recorded_at timestamptz not null
);

comment on table stock_movements is 'One row per movement of stock; only the articles that sell most are tracked.';
comment on table order_events is 'One row per thing that happened to an order, numbered from 1 without a gap.';

comment on column stock_movements.quantity_change is 'Units that came (positive) or went (negative).';
comment on column stock_movements.received_at is 'When the movement was booked; days after moved_at if booked late.';
comment on column order_events.payload is 'What is known by the event and by no other; empty for most.';
comment on column order_events.recorded_at is 'When the event was written; later than occurred_at if the till reported late.';

-- ----------------------------------------------------------------------------------------------------------------

alter table stock_movements add primary key (movement_id);
alter table order_events add primary key (order_id, version);

create index on stock_movements (received_at);
create index on order_events (recorded_at);
