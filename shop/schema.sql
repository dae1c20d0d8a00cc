-- The operational shop: what a retail chain's own systems would hold. Created by `shop`, read by the platform.
-- Instants are timestamptz; every row carries updated_at, the shop's clock at its last change.
-- order_items.product_id has no foreign key: tills sell articles that the product file does not know.
-- The foreign key and the indexes, cheaper to build once the rows are there, stand below the line of dashes.

create table customers (
    customer_id bigint primary key,
    first_name text,
    last_name text,
    email text,
    phone text,
    city text,
    region text,
    postal_code text,
    segment_code text,
    age_band text,
    income_band text,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create table products (
    product_id bigint primary key,
    product_name text not null,
    department_name text,
    category_name text,
    brand_name text,
    package_size text,
    unit_price_amount numeric(12, 2),
    unit_cost_amount numeric(12, 2),
    is_active boolean not null default true,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create table stores (
    store_id bigint primary key,
    store_name text not null,
    city text,
    region text,
    country_code text,
    time_zone text not null,
    opened_date date,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create table orders (
    order_id bigint primary key,
    customer_id bigint not null,
    store_id bigint not null,
    status_code text not null check (status_code in ('placed', 'paid', 'shipped', 'delivered', 'returned', 'cancelled')),
    currency_code text not null,
    ordered_at timestamptz not null,
    paid_at timestamptz,
    shipped_at timestamptz,
    delivered_at timestamptz,
    returned_at timestamptz,
    updated_at timestamptz not null
);

create table order_items (
    order_id bigint not null,
    line_number integer not null,
    product_id bigint not null,
    quantity integer not null,
    sales_amount numeric(12, 2) not null,
    retail_discount_amount numeric(12, 2) not null default 0,
    coupon_discount_amount numeric(12, 2) not null default 0,
    coupon_match_discount_amount numeric(12, 2) not null default 0,
    ordered_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (order_id, line_number)
);

create table devices (
    device_id bigint primary key,
    store_id bigint not null,
    device_code text not null,
    model_name text,
    installed_at timestamptz,
    is_active boolean not null default true,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create table sensor_readings (
    device_id bigint not null,
    read_at timestamptz not null,
    temperature_celsius double precision,
    humidity_percent double precision,
    pressure_hpa double precision,
    received_at timestamptz not null,
    primary key (device_id, read_at)
);

comment on table customers is 'People (or households) that buy.';
comment on table products is 'Articles on sale, with the price of the moment.';
comment on table stores is 'Branches of the chain; time_zone tells the day a sale belongs to.';
comment on table orders is 'One row per order (basket); its status moves on over its life.';
comment on table order_items is 'One row per product line of an order.';
comment on table devices is 'Sensors installed in the stores.';
comment on table sensor_readings is 'One row per device and instant of measurement.';

comment on column orders.updated_at is 'When the row last changed; later than ordered_at by days if the till reported late.';
comment on column order_items.sales_amount is 'What the retailer receives for the line, after retail and coupon match discount.';
comment on column order_items.coupon_discount_amount is 'Paid by the manufacturer; the customer pays sales_amount less this.';
comment on column order_items.ordered_at is 'The instant of the order, repeated so that lines can be read by day on their own.';
comment on column sensor_readings.received_at is 'When the reading arrived; hours or days after read_at if the device was offline.';

-- ----------------------------------------------------------------------------------------------------------------

alter table order_items add foreign key (order_id) references orders on delete cascade;

create index on customers (updated_at);
create index on products (updated_at);
create index on stores (updated_at);
create index on orders (updated_at);
create index on orders (ordered_at);
create index on order_items (updated_at);
create index on order_items (ordered_at);
create index on devices (updated_at);
create index on sensor_readings (received_at);
create index on sensor_readings (read_at);
